# Comparisons, R2 and profile intervals of lme4: Rscript make_measure_references.R > measures.json
# R2 from lme4's fits by its definition (Nakagawa and Schielzeth 2013; Johnson 2014), row by row.
suppressMessages(library(lme4))
suppressMessages(library(jsonlite))

tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = 0.05, rhoend = 1e-10, maxfun = 1e5),
                     check.conv.grad = "ignore")
read <- function(name) read.csv(Sys.glob(file.path("data", paste0(name, ".csv*"))), stringsAsFactors = TRUE)
sleep <- read("sleepstudy"); penicillin <- read("Penicillin")
sleep$Subject <- factor(sleep$Subject)
fitted <- function(formula, data, REML) lmer(formula, data, REML = REML, control = tight)
table <- function(found) {
  names(found)[6:8] <- c("chisq", "df", "p")
  as.list(found[, c("npar", "logLik", "AIC", "BIC", "chisq", "df", "p")])
}
r2 <- function(m, Z) {
  fixed <- var(as.vector(model.matrix(m) %*% fixef(m)))
  G <- VarCorr(m)
  random <- sum(sapply(names(G), function(g) mean(rowSums((Z[[g]] %*% G[[g]]) * Z[[g]]))))
  total <- fixed + random + sigma(m)^2
  c(marginal = fixed / total, conditional = (fixed + random) / total)
}
slopes <- Reaction ~ Days + (Days | Subject); levels <- Reaction ~ Days + (1 | Subject)
constant <- Reaction ~ 1 + (1 | Subject)
ml <- lapply(list(slopes, levels, constant), fitted, data = sleep, REML = FALSE)
reml <- lapply(list(slopes, levels), fitted, data = sleep, REML = TRUE)
crossed <- fitted(diameter ~ 1 + (1 | plate) + (1 | sample), penicillin, TRUE)
without <- list(plate = diameter ~ 1 + (1 | sample), sample = diameter ~ 1 + (1 | plate))
drops <- sapply(without, function(f) 2 * (logLik(crossed) - logLik(fitted(f, penicillin, TRUE))))
components <- as.data.frame(VarCorr(crossed))$vcov
X <- model.matrix(~ Days, sleep)
profiles <- function(m) {
  found <- confint(m, method = "profile", quiet = TRUE)
  sapply(rownames(found), function(name) as.numeric(found[name, ]), simplify = FALSE)
}
cat(toJSON(list(
  ml = table(as.data.frame(anova(ml[[1]], ml[[2]], ml[[3]]))),
  reml = table(as.data.frame(anova(reml[[1]], reml[[2]], refit = FALSE))),
  r2 = as.list(r2(reml[[1]], list(Subject = X))),
  penicillin_drops = as.list(drops),
  penicillin_icc = components[1:2] / sum(components),
  profile_sleepstudy = profiles(ml[[1]]),
  profile_sleep_unb = profiles(fitted(slopes, within(read("sleep_unb"), Subject <- factor(Subject)), FALSE)),
  profile_two_terms = profiles(fitted(Reaction ~ Days + (Days || Subject), sleep, FALSE)),
  profile_dyestuff = profiles(fitted(Yield ~ 1 + (1 | Batch), read("Dyestuff"), FALSE)),
  profile_penicillin = profiles(fitted(diameter ~ 1 + (1 | plate) + (1 | sample), penicillin, FALSE))
), digits = NA, na = "null", auto_unbox = TRUE, pretty = TRUE), "\n")
