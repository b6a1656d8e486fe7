# Robust covariances of clubSandwich: Rscript make_robust_references.R > robust.json
# `plain`: of the fit itself. `white`: of least squares on data that are independent under the fit,
# L^-1 [X y] with V = L L' (what mmrm does for its bias-reduced covariance).
suppressMessages({library(lme4); library(clubSandwich); library(jsonlite)})

tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = 0.05, rhoend = 1e-10, maxfun = 1e5),
                     check.conv.grad = "ignore")
read <- function(name) read.csv(Sys.glob(file.path("data", paste0(name, ".csv*"))), stringsAsFactors = TRUE)
figures <- function(fit, covariance, rows) {
  found <- as.data.frame(coef_test(fit, covariance, test = "Satterthwaite"))
  joint <- Wald_test(fit, constrain_zero(rows), vcov = covariance, test = "HTZ")
  list(se = unname(sqrt(diag(covariance))), df = unname(found$df_Satt), rows = rows,
       F = joint$Fstat, den_df = joint$df_denom, p = joint$p_val)
}
all_kinds <- function(fit, rows, ...) {
  kinds <- c("CR0", "CR2", "CR3")
  sapply(kinds, function(kind) figures(fit, vcovCR(fit, type = kind, ...), rows), simplify = FALSE)
}
white <- function(X, y, V, groups, rows) {
  y <- as.numeric(y)
  for (g in unique(groups)) {
    at <- which(groups == g)
    L <- t(chol(V[at, at, drop = FALSE]))
    X[at, ] <- forwardsolve(L, X[at, , drop = FALSE]); y[at] <- forwardsolve(L, y[at])
  }
  frame <- data.frame(y = y, X = I(X))
  all_kinds(lm(y ~ 0 + X, frame), rows, cluster = groups, target = rep(1, length(y)))
}
covariance <- function(m) {
  Z <- as.matrix(getME(m, "Z")); Lambda <- as.matrix(getME(m, "Lambda"))
  w <- weights(m)
  sigma(m)^2 * (Z %*% Lambda %*% t(Lambda) %*% t(Z) + diag(1 / w))
}
mixed <- function(formula, data, group, rows, plain = TRUE, ...) {
  m <- do.call(lmer, list(formula, data, control = tight, ...))
  out <- list(fixed = unname(fixef(m)))
  if (plain) out$plain <- all_kinds(m, rows)
  out$white <- white(getME(m, "X"), getME(m, "y"), covariance(m), as.character(data[[group]]), rows)
  out
}
sleep <- within(read("sleep_unb"), Subject <- factor(Subject))
sleep$w <- 1 + (seq_len(nrow(sleep)) %% 4) / 2
dietox <- within(read("dietox"), Pig <- factor(Pig))
dietox <- dietox[!is.na(dietox$Weight), ]
school <- read("egsingle")
school$schoolid <- factor(school$schoolid); school$childid <- factor(school$childid)
fev <- read("mmrm_fev_data"); fev <- fev[!is.na(fev$FEV1), ]
fev$visit <- as.integer(fev$AVISIT)
made <- fromJSON("made_residual.json", simplifyDataFrame = FALSE)  # polished REML estimates
R <- Filter(function(e) e$id == "mmrm_us_sat", made)[[1]]
R <- matrix(unlist(R$residual_cov), 4)
X <- model.matrix(FEV1 ~ RACE + SEX + ARMCD * AVISIT, fev)
V <- matrix(0, nrow(fev), nrow(fev))
for (s in unique(fev$USUBJID)) {
  at <- which(fev$USUBJID == s)
  V[at, at] <- R[fev$visit[at], fev$visit[at]]
}
W <- solve(V)
gls <- solve(t(X) %*% W %*% X, t(X) %*% W %*% fev$FEV1)
cat(toJSON(list(
  sleep_unb = mixed(Reaction ~ Days + (Days | Subject), sleep, "Subject", 1:2),
  sleep_unb_weights = mixed(Reaction ~ Days + (Days | Subject), sleep, "Subject", 1:2, FALSE, weights = sleep$w),
  dietox = mixed(Weight ~ Time * Cu + (Time | Pig), dietox, "Pig", 5:6),
  egsingle = mixed(math ~ year + female + (1 | schoolid/childid), school, "schoolid", 2:3),
  fev = list(fixed = as.numeric(gls), white = white(X, fev$FEV1, V, as.character(fev$USUBJID), 9:11))
), digits = NA, na = "null", auto_unbox = TRUE, pretty = TRUE), "\n")
