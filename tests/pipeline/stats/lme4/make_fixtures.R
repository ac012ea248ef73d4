# Data and lmerTest results that tests/pipeline/stats/test_mixed_model.py uses for comparison.
# Run it in this folder: Rscript make_fixtures.R (Debian: r-cran-lme4, r-cran-lmertest).
# Every case writes <case>_data.tsv (person, columns of the design, y) and <case>_fit.tsv.

suppressPackageStartupMessages(library(lmerTest))

precise <- lmerControl(
  optimizer = "bobyqa",
  optCtrl = list(rhobeg = 0.02, rhoend = 1e-12, maxfun = 1e5),
  check.conv.singular = .makeCC(action = "ignore", tol = 1e-4)
)

fit <- function(case, data, formula, reml = TRUE) {
  model <- lmer(formula, data = data, REML = reml, control = precise)
  design <- getME(model, "X")
  # `intercept`, `time`, ...: names that need no quoting
  names <- gsub("[^a-z0-9]+", "_", tolower(colnames(design)))
  colnames(design) <- gsub("^_|_$", "", names)
  out <- data.frame(person = data$person, design, y = data$y)
  write.table(format(out, digits = 17, trim = TRUE), paste0(case, "_data.tsv"),
    sep = "\t", quote = FALSE, row.names = FALSE)
  table <- coef(summary(model, ddf = "Satterthwaite"))
  parts <- as.data.frame(VarCorr(model))$vcov
  result <- data.frame(
    term = colnames(design), estimate = table[, "Estimate"], se = table[, "Std. Error"],
    df = table[, "df"], statistic = table[, "t value"], p = table[, "Pr(>|t|)"],
    participant_variance = parts[1], residual_variance = parts[2]
  )
  write.table(format(result, digits = 17, trim = TRUE), paste0(case, "_fit.tsv"),
    sep = "\t", quote = FALSE, row.names = FALSE)
  cat(case, nrow(data), "rows, variances", parts, "\n")
}

simulate <- function(n_people, n_visits, person_sd, missing = 0) {
  data <- expand.grid(visit = seq_len(n_visits) - 1, person = sprintf("p%02d", seq_len(n_people)))
  data$arm <- as.integer(as.integer(data$person) %% 2 == 0)
  data$age <- round(rnorm(n_people, 45, 12))[as.integer(data$person)]
  data$days <- round(data$visit * 42 + (data$visit > 0) * rnorm(nrow(data), 0, 6))
  data$y <- 0.3 + 0.04 * data$visit + 0.06 * data$visit * data$arm +
    rnorm(n_people, 0, person_sd)[as.integer(data$person)] + rnorm(nrow(data), 0, 0.15)
  droplevels(data[runif(nrow(data)) >= missing, ])
}

set.seed(1)
fit("balanced", simulate(20, 3, 0.2), y ~ factor(visit) + (1 | person))
set.seed(2)
fit("unbalanced", simulate(24, 4, 0.2, missing = 0.3), y ~ visit + age + (1 | person))
set.seed(3)
fit("arm_by_time", simulate(24, 3, 0.15, missing = 0.2), y ~ arm * factor(visit) + (1 | person))
set.seed(4)
fit("days", simulate(20, 3, 0.1, missing = 0.15), y ~ arm * days + age + (1 | person))
set.seed(4)
fit("likelihood", simulate(20, 3, 0.1, missing = 0.15), y ~ arm * visit + (1 | person), reml = FALSE)
set.seed(5)
repeat {  # the person variance is estimated as zero
  data <- simulate(14, 3, 0, missing = 0.2)
  model <- lmer(y ~ arm * visit + (1 | person), data = data, control = precise)
  if (getME(model, "theta") == 0) break
}
fit("boundary", data, y ~ arm * visit + (1 | person))
