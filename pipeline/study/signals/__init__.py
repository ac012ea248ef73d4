"""Regional series and motion of the visits of a study, for analyses of rival explanations."""
