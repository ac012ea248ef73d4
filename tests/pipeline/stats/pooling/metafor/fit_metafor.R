# Fit random-effects models with metafor 3.8-1 (Debian: r-cran-metafor) to its published examples,
# and write estimates.tsv: Rscript fit_metafor.R estimates.tsv
#
# dat.bcg           log risk ratios, Colditz 1994; analysed in Viechtbauer 2010, J Stat Softw 36(3)
# dat.raudenbush1985  standardised mean differences, teacher expectancy
# dat.normand1999   mean differences, length of stay after stroke
# dat.hackshaw1998  log odds ratios, environmental smoke and lung cancer
suppressMessages(library(metafor))
fine <- list(threshold = 1e-12, maxiter = 10000)
studies <- function(data) data.frame(yi = as.numeric(data$yi), vi = as.numeric(data$vi))
bcg <- studies(escalc("RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg))
stay <- studies(escalc("MD", m1i = m1i, sd1i = sd1i, n1i = n1i, m2i = m2i, sd2i = sd2i, n2i = n2i,
                       data = dat.normand1999))
sets <- list(
  bcg = bcg,
  raudenbush1985 = studies(dat.raudenbush1985),
  normand1999 = stay,
  hackshaw1998 = studies(dat.hackshaw1998),
  bcg_first_2 = bcg[1:2, ],
  bcg_first_3 = bcg[1:3, ],
  raudenbush_homogeneous = studies(dat.raudenbush1985)[c(1, 2, 6, 7, 8, 9), ]
)
rows <- list()
for (name in names(sets)) {
  d <- sets[[name]]
  for (test in c("knha", "adhoc")) {
    fit <- suppressWarnings(rma(yi, vi, data = d, method = "REML", test = test, control = fine))
    # the limits of tau^2 to full precision: the default of confint is 1e-4 of the unit
    limits <- suppressWarnings(confint(fit, control = list(tol = 1e-12, maxiter = 10000,
                                                          tau2.max = 1e6)))$random
    future <- predict(fit)
    rows[[length(rows) + 1]] <- data.frame(
      data = name, test = test, k = fit$k, estimate = fit$beta[1], se = fit$se,
      statistic = fit$zval, p = fit$pval, ci_low = fit$ci.lb, ci_high = fit$ci.ub,
      tau2 = fit$tau2, se_tau2 = fit$se.tau2,
      tau2_low = limits["tau^2", "ci.lb"], tau2_high = limits["tau^2", "ci.ub"],
      i2 = fit$I2, i2_low = limits["I^2(%)", "ci.lb"], i2_high = limits["I^2(%)", "ci.ub"],
      h2 = fit$H2, h2_low = limits["H^2", "ci.lb"], h2_high = limits["H^2", "ci.ub"],
      q = fit$QE, q_p = fit$QEp, pi_low = future$pi.lb, pi_high = future$pi.ub
    )
  }
}
out <- commandArgs(trailingOnly = TRUE)[1]
write.table(format(do.call(rbind, rows), digits = 12, trim = TRUE), out, sep = "\t", quote = FALSE,
            row.names = FALSE)
values <- do.call(rbind, lapply(names(sets), function(n) data.frame(data = n, sets[[n]])))
write.table(format(values, digits = 15, trim = TRUE), sub("estimates", "studies", out), sep = "\t",
            quote = FALSE, row.names = FALSE)
