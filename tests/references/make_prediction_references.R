# Prediction error variances and standard errors of predictions, by R: run in this folder,
#   Rscript make_prediction_references.R > predictions.json
# PEV without the uncertainty of beta is lme4's condVar. With it, and for predictions, Henderson's
# equations are written out from lme4's own matrices and inverted; random = FALSE is emmeans'.
suppressMessages({library(lme4); library(lmerTest); library(emmeans); library(jsonlite)})
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-12, maxfun = 1e6),
                     check.conv.singular = "ignore")
read <- function(name) read.csv(file.path("data", paste0(name, ".csv")), stringsAsFactors = TRUE)

henderson <- function(fit) {
  X <- getME(fit, "X"); Z <- as.matrix(getME(fit, "Z")); L <- as.matrix(getME(fit, "Lambda"))
  s2 <- sigma(fit)^2; ZL <- Z %*% L; p <- ncol(X)
  M <- rbind(cbind(crossprod(X), crossprod(X, ZL)),
             cbind(crossprod(ZL, X), crossprod(ZL) + diag(ncol(ZL))))
  B <- as.matrix(bdiag(diag(p), L))
  s2 * B %*% solve(M) %*% t(B)
}

predictions <- function(fit, new) {
  C <- henderson(fit)
  X <- model.matrix(delete.response(terms(fit)), new)
  Z <- t(as.matrix(mkReTrms(findbars(formula(fit)), model.frame(subbars(formula(fit)), new))$Zt))
  W <- cbind(X, Z)
  list(fit = as.vector(predict(fit, new)), se = sqrt(rowSums((W %*% C) * W)))
}

pev <- function(fit, group) {
  C <- henderson(fit); p <- length(fixef(fit)); re <- ranef(fit, condVar = TRUE)[[group]]
  q <- ncol(re); at <- getME(fit, "Gp"); k <- match(group, names(getME(fit, "flist")))
  full <- matrix(diag(C)[p + at[k] + seq_len(at[k + 1] - at[k])], ncol = q, byrow = TRUE)
  known <- t(apply(attr(re, "postVar"), 3, diag))
  if (q == 1) known <- t(known)
  G <- diag(as.matrix(VarCorr(fit)[[group]]))
  list(levels = rownames(re), known_beta = known, full = full,
       reliability = 1 - sweep(full, 2, G, "/"))
}

marginal <- function(fit, days, mode) {
  out <- as.data.frame(emmeans(fit, ~ Days, at = list(Days = days), lmer.df = mode))
  list(Days = out$Days, fit = out$emmean, se = out$SE, df = out$df,
       lower = out$lower.CL, upper = out$upper.CL)
}

sleep <- read("sleep_unb"); sleep$Subject <- factor(sleep$Subject)
slopes <- lmerTest::lmer(Reaction ~ Days + (Days | Subject), sleep, control = tight)
new <- data.frame(Days = rep(c(0, 4.5, 12), nlevels(sleep$Subject)), Reaction = 0,
                  Subject = factor(rep(levels(sleep$Subject), each = 3)))

mould <- read("Penicillin"); mould <- mould[-c(2, 3, 9, 20, 21, 22, 50, 77, 78, 103), ]
crossed <- lmer(diameter ~ 1 + (1 | plate) + (1 | sample), mould, control = tight)
all <- expand.grid(plate = levels(mould$plate), sample = levels(mould$sample))
all$diameter <- 0

out <- list(
  made_by = paste("R", getRversion(), "lme4", packageVersion("lme4"), "lmerTest",
                  packageVersion("lmerTest"), "emmeans", packageVersion("emmeans")),
  slopes = list(pev = list(Subject = pev(slopes, "Subject")), new = new,
                predictions = predictions(slopes, new),
                marginal = list(satterthwaite = marginal(slopes, c(0, 4.5, 12), "satterthwaite"),
                                `kenward-roger` = marginal(slopes, c(0, 4.5, 12), "kenward-roger"))),
  crossed = list(dropped = c(2, 3, 9, 20, 21, 22, 50, 77, 78, 103),
                 pev = list(plate = pev(crossed, "plate"), sample = pev(crossed, "sample")),
                 new = all, predictions = predictions(crossed, all)))
cat(toJSON(out, digits = NA, auto_unbox = TRUE), "\n")
