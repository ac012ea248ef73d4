"""Random-effects meta-analysis of estimates from several studies."""
