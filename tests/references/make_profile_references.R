# Profile intervals, conditional AIC and exact tests on unbalanced data and at the boundary:
# Rscript make_profile_references.R > profiles.json  (lme4, cAIC4, RLRsim)
suppressMessages({library(lme4); library(cAIC4); library(RLRsim); library(jsonlite)})
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = 0.05, rhoend = 1e-10, maxfun = 1e5),
                     check.conv.grad = "ignore", check.conv.singular = "ignore")
read <- function(name) read.csv(Sys.glob(file.path("data", paste0(name, ".csv*"))), stringsAsFactors = TRUE)
sleep <- within(read("sleep_unb"), Subject <- factor(Subject))
machines <- within(read("machines_unb"), Worker <- factor(Worker))
pastes <- read("Pastes"); dyestuff2 <- read("Dyestuff2"); dyestuff <- read("Dyestuff")
sleep$w <- 1 + (seq_len(nrow(sleep)) %% 3)
fitted <- function(formula, data, REML = TRUE, ...) lmer(formula, data, REML = REML, control = tight, ...)
profiles <- function(m) {
  found <- suppressWarnings(confint(m, method = "profile", quiet = TRUE))
  sapply(rownames(found), function(name) as.numeric(found[name, ]), simplify = FALSE)
}
# cAIC4 1.0 halves (e'We) e' / y'e in the derivative of the score by y, which its own numerical branch does
# not; df is by its formula with that put right, package_df as it comes
source_of <- deparse(cAIC4:::calculateGaussianBc)
corrected <- eval(parse(text = sub("eWje \\* e/\\(2 \\*", "eWje * e/(1 *", source_of)))
environment(corrected) <- environment(cAIC4:::calculateGaussianBc)
conditional <- function(m) {
  found <- cAIC(m)
  zero <- all(getME(m, "theta") < 1e-6)  # cAIC4 leaves sigma out there
  df <- if (zero) found$df + 1 else corrected(cAIC4:::getModelComponents.merMod(m, TRUE), 1, TRUE)
  list(loglik = found$loglikelihood, df = df, package_df = found$df)
}
exact <- function(m) { found <- exactRLRT(m, seed = 1, nsim = 100000); list(statistic = unname(found$statistic), p = found$p.value) }
exact_ml <- function(m, m0) { found <- exactLRT(m, m0, seed = 1, nsim = 100000); list(statistic = unname(found$statistic), p = found$p.value) }
weak <- sleep; set.seed(9); weak$y <- rnorm(nrow(weak)) + 0.2 * rnorm(nlevels(weak$Subject))[weak$Subject]
cat(toJSON(list(
  profile_dyestuff2 = profiles(fitted(Yield ~ 1 + (1 | Batch), dyestuff2, FALSE)),
  profile_machines = profiles(fitted(score ~ Machine + (1 | Worker) + (1 | Worker:Machine), machines, FALSE)),
  profile_pastes = profiles(fitted(strength ~ 1 + (1 | batch) + (1 | sample), pastes, FALSE)),
  profile_sleep_intercept = profiles(fitted(Reaction ~ Days + (1 | Subject), sleep, FALSE)),
  caic_sleep = conditional(fitted(Reaction ~ Days + (Days | Subject), sleep)),
  caic_sleep_ml = conditional(fitted(Reaction ~ Days + (Days | Subject), sleep, FALSE)),
  caic_sleep_intercept = conditional(fitted(Reaction ~ Days + (1 | Subject), sleep)),
  caic_machines = conditional(fitted(score ~ Machine + (1 | Worker) + (1 | Worker:Machine), machines)),
  caic_pastes = conditional(fitted(strength ~ 1 + (1 | batch) + (1 | sample), pastes, FALSE)),
  caic_dyestuff2 = conditional(fitted(Yield ~ 1 + (1 | Batch), dyestuff2)),
  weak_y = weak$y,
  exact_weak = exact(fitted(y ~ Days + (1 | Subject), weak)),
  exact_weak_ml = exact_ml(fitted(y ~ Days + (1 | Subject), weak, FALSE), lm(y ~ Days, weak)),
  exact_dyestuff = exact(fitted(Yield ~ 1 + (1 | Batch), dyestuff))
), digits = NA, na = "null", auto_unbox = TRUE, pretty = TRUE), "\n")
