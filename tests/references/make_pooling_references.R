# Rscript make_pooling_references.R > pooling.json, in this folder: Rubin's rules by mice and mitml.
suppressMessages({library(lme4); library(mice); library(jsonlite)})

# sleepstudy with 30 cells made missing and imputed five times by a rule that needs no random numbers
d <- read.csv("data/sleepstudy.csv"); d$Subject <- factor(d$Subject)
gaps <- seq(3, 180, by = 6)
flat <- lm(Reaction ~ Days + Subject, d[-gaps, ])
fits <- lapply(1:5, function(k) {
  own <- d
  own$Reaction[gaps] <- predict(flat, d[gaps, ]) + 150 * sin(7 * k + gaps)
  lmer(Reaction ~ Days + (1 | Subject), own,
       control = lmerControl(optCtrl = list(xtol_abs = 1e-12, ftol_abs = 1e-12)))
})
Q <- sapply(fits, fixef)
U <- sapply(fits, function(f) diag(as.matrix(vcov(f))))
pooled <- function(dfcom) lapply(1:2, function(i) {
  p <- pool.scalar(Q[i, ], U[i, ], n = dfcom + 1, k = 1)
  list(estimate = p$qbar, se = sqrt(p$t), df = p$df, riv = p$r, fmi = p$fmi,
       lambda = (1 + 1 / p$m) * p$b / p$t)
})
joint <- function(dfcom) {
  uhat <- lapply(fits, function(f) unname(as.matrix(vcov(f))))
  qhat <- lapply(fits, function(f) setNames(fixef(f), c("a", "b")))
  uhat <- lapply(uhat, function(u) { dimnames(u) <- list(c("a", "b"), c("a", "b")); u })
  as.numeric(mitml::testConstraints(qhat = qhat, uhat = uhat, constraints = c("a - 25 * b", "b"),
                                    df.com = dfcom, method = "D1")$test)
}
out <- list(
  versions = list(R = as.character(getRversion()), lme4 = as.character(packageVersion("lme4")),
                  mice = as.character(packageVersion("mice")),
                  mitml = as.character(packageVersion("mitml"))),
  finite = pooled(178), infinite = pooled(Inf),
  D1_finite = joint(178), D1_infinite = joint(NULL),
  qhat = Q, uhat = lapply(fits, function(f) unname(as.matrix(vcov(f)))))
cat(toJSON(out, auto_unbox = TRUE, digits = 14, pretty = TRUE), "\n")
