# Marginal means, slopes and contrasts of emmeans with the degrees of freedom of lmerTest and pbkrtest:
# Rscript make_emmeans.R > emmeans.json
# mvt from mvtnorm itself, more exactly than emmeans asks for. Slopes of curves by central differences
# of emmeans' own means, since emtrends takes forward ones.
suppressMessages({library(lme4); library(nlme); library(emmeans); library(jsonlite)})
emm_options(lmerTest.limit = 1e5, pbkrtest.limit = 1e5, msg.interaction = FALSE, msg.nesting = FALSE,
            cov.keep = character(0), lmer.df = "satterthwaite")
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = 0.05, rhoend = 1e-10, maxfun = 1e5),
                     check.conv.grad = "ignore", check.rankX = "silent.drop.cols")
read <- function(name) read.csv(Sys.glob(file.path("data", paste0(name, ".csv*"))), stringsAsFactors = TRUE)
thin <- function(d) d[(7 * seq_len(nrow(d)) + 3) %% 11 > 1, ]
sets <- list(
  machines = within(read("machines_unb"), Worker <- factor(Worker)),
  oats = thin(read("Oats")),
  orthodont = thin(read("Orthodont")),
  dietox = read("dietox"),
  gap = subset(read("dietox"), !(Evit == "Evit100" & Cu == "Cu035")),
  fev = subset(read("mmrm_fev_data"), !is.na(FEV1)))
figures <- c(estimate = "estimate", se = "SE", df = "df", statistic = "t.ratio", p = "p.value",
             lower = "lower.CL", upper = "upper.CL")
plain <- function(s) {
  names(s)[match(c("emmean", "z.ratio", "asymp.LCL", "asymp.UCL"), names(s), nomatch = 0)] <-
    c("estimate", "t.ratio", "lower.CL", "upper.CL")[c("emmean", "z.ratio", "asymp.LCL", "asymp.UCL") %in% names(s)]
  names(s)[grepl("\\.trend$", names(s))] <- "estimate"
  lapply(figures[figures %in% names(s)], function(f) ifelse(is.finite(s[[f]]), s[[f]], ifelse(is.na(s[[f]]), NA, 1e300)))
}
both <- function(g, adjust) plain(as.data.frame(summary(g, infer = c(TRUE, TRUE), adjust = adjust)))
mvt <- function(g) {
  s <- as.data.frame(summary(g, infer = c(TRUE, TRUE), adjust = "none"))
  ratio <- if ("z.ratio" %in% names(s)) s$z.ratio else s$t.ratio
  df <- if (is.finite(s$df[1])) s$df[1] else 0
  R <- cov2cor(vcov(g)); k <- length(ratio); set.seed(1)
  how <- mvtnorm::GenzBretz(maxpts = 5e6, abseps = 1e-6, releps = 0)
  p <- sapply(abs(ratio), function(t) 1 - mvtnorm::pmvt(rep(-t, k), rep(t, k), df = df, corr = R, algorithm = how))
  out <- plain(s); out$p <- as.numeric(p); out$lower <- out$upper <- NULL
  out
}
methods <- c(pairwise = "pairwise", trt.vs.ctrl = "trt.vs.ctrl", consecutive = "consec", eff = "eff", poly = "poly",
             identity = "identity")
one <- function(g, method, adjust) {
  found <- contrast(g, methods[[method]])
  list(method = method, adjust = adjust, table = if (adjust == "mvt") mvt(found) else both(found, adjust))
}
ask <- function(g, contrasts) list(
  table = plain(as.data.frame(summary(g, infer = c(TRUE, FALSE), adjust = "none"))),
  contrasts = unname(Map(function(m, a) one(g, m, a), names(contrasts), contrasts)))
joint <- function(g, m, ddf) {
  found <- contrast(g, "trt.vs.ctrl")
  parts <- split(seq_len(nrow(found@linfct)), if (length(g@misc$by.vars)) found@grid[g@misc$by.vars] else 0)
  rows <- do.call(rbind, lapply(parts, function(i) {
    L <- found@linfct[i, , drop = FALSE]
    if (ddf == "asymptotic") {
      b <- L %*% fixef(m); F <- sum(b * solve(L %*% vcov(m) %*% t(L), b)) / length(i)
      return(data.frame(i = length(i), 1e300, F, pchisq(F * length(i), length(i), lower.tail = FALSE)))
    }
    full <- lmerTest::as_lmerModLmerTest(m)
    lmerTest::contest(full, as.matrix(L), joint = TRUE, ddf = c(satterthwaite = "Satterthwaite", `kenward-roger` = "Kenward-Roger")[[ddf]])[
      c("NumDF", "DenDF", "F value", "Pr(>F)")]
  }) |> lapply(setNames, c("num_df", "den_df", "F", "p")))
  as.list(rows)
}
entry <- function(name, data, formula, what, g, contrasts, tested = NULL)
  c(list(name = name, data = data, formula = formula), what, ask(g, contrasts),
    if (!is.null(tested)) list(joint = joint(g, tested, what$ddf)) else list())
lm1 <- function(formula, data) eval(bquote(lmer(.(formula), sets[[.(data)]], control = tight)), globalenv())
all_ways <- c(pairwise = "tukey", pairwise = "holm", pairwise = "bonferroni", pairwise = "BH", pairwise = "sidak",
              pairwise = "none", trt.vs.ctrl = "none", trt.vs.ctrl = "sidak", consecutive = "none", eff = "BH",
              poly = "none", identity = "none")
out <- list()
add <- function(...) out[[length(out) + 1]] <<- entry(...)

f <- "score ~ Machine + (1 | Worker)"; m <- lm1(score ~ Machine + (1 | Worker), "machines")
for (ddf in c("satterthwaite", "kenward-roger", "asymptotic"))
  add(paste("factor", ddf), "machines", f, list(ddf = ddf, specs = "Machine"), emmeans(m, ~ Machine, lmer.df = ddf), all_ways, m)
left <- nrow(sets$machines) - 3
add("factor residual", "machines", f, list(ddf = "residual", specs = "Machine"), emmeans(m, ~ Machine, df = left, lmer.df = "asymptotic"),
    c(pairwise = "mvt", trt.vs.ctrl = "mvt", consecutive = "mvt", pairwise = "tukey"))

f <- "`yield` ~ Variety*C(nitro) + (1 | Block/Variety)"
m <- lmer(yield ~ Variety * factor(nitro) + (1 | Block/Variety), sets$oats, control = tight)
some <- c(pairwise = "tukey", pairwise = "holm", pairwise = "BH", consecutive = "none", poly = "none", eff = "bonferroni")
for (ddf in c("satterthwaite", "kenward-roger")) {
  add(paste("cells", ddf), "oats", f, list(ddf = ddf, specs = "nitro | Variety"), emmeans(m, ~ nitro | Variety, lmer.df = ddf), some, m)
  add(paste("crossed", ddf), "oats", f, list(ddf = ddf, specs = "Variety * nitro"), emmeans(m, ~ Variety * nitro, lmer.df = ddf), c(pairwise = "tukey", pairwise = "holm"), m)
  add(paste("margin", ddf), "oats", f, list(ddf = ddf, specs = "Variety"), emmeans(m, ~ Variety, lmer.df = ddf), some, m)
}
for (w in c("proportional", "cells"))
  add(paste("weights", w), "oats", f, list(ddf = "satterthwaite", specs = "Variety", weights = w), emmeans(m, ~ Variety, weights = w), c(pairwise = "tukey"))
add("one mean", "oats", f, list(ddf = "kenward-roger", specs = "1"), emmeans(m, ~ 1, lmer.df = "kenward-roger"), c(identity = "none"))
add("crossed asymptotic", "oats", f, list(ddf = "asymptotic", specs = "Variety * nitro"),
    emmeans(m, ~ Variety * nitro, lmer.df = "asymptotic"), c(pairwise = "tukey", trt.vs.ctrl = "mvt", consecutive = "mvt"))
crossed <- contrast(emmeans(m, ~ Variety * nitro, lmer.df = "kenward-roger"), interaction = c(Variety = "pairwise", nitro = "poly"))
out[[length(out) + 1]] <- list(name = "contrasts of contrasts", data = "oats", formula = f, ddf = "kenward-roger", specs = "Variety * nitro",
  table = plain(as.data.frame(summary(emmeans(m, ~ Variety * nitro, lmer.df = "kenward-roger")))),
  contrasts = list(list(method = list(Variety = "pairwise", nitro = "poly"), adjust = "none", table = both(crossed, "none"))))

f <- "distance ~ Sex*age + (1 + age | Subject)"; m <- lm1(distance ~ Sex * age + (1 + age | Subject), "orthodont")
for (ddf in c("satterthwaite", "kenward-roger")) {
  add(paste("covariate", ddf), "orthodont", f, list(ddf = ddf, specs = "Sex"), emmeans(m, ~ Sex, lmer.df = ddf), c(pairwise = "tukey"), m)
  add(paste("covariate at", ddf), "orthodont", f, list(ddf = ddf, specs = "Sex | age", at = list(age = c(8, 11, 14))),
      emmeans(m, ~ Sex | age, at = list(age = c(8, 11, 14)), lmer.df = ddf), c(pairwise = "none"))
  add(paste("slopes", ddf), "orthodont", f, list(ddf = ddf, specs = "Sex", var = "age"), emtrends(m, ~ Sex, "age", lmer.df = ddf), c(pairwise = "tukey", identity = "none"))
}

f <- "Weight ~ Evit*poly(Time, 2) + Cu + (1 | Pig)"; m <- lm1(Weight ~ Evit * poly(Time, 2) + Cu + (1 | Pig), "dietox")
add("polynomial", "dietox", f, list(ddf = "satterthwaite", specs = "Evit"), emmeans(m, ~ Evit), c(pairwise = "tukey", trt.vs.ctrl = "sidak"), m)
slope <- function(m, at, h = 1e-2) {
  two <- emmeans(m, ~ Time | Evit, at = list(Time = at + c(-h, h)))
  emmeans(contrast(two, list(slope = c(-1, 1) / (2 * h))), ~ Evit)
}
add("slopes of a polynomial", "dietox", f, list(ddf = "satterthwaite", specs = "Evit", var = "Time", at = list(Time = 4)), slope(m, 4), c(pairwise = "tukey"))
f <- "Weight ~ Evit*log(Time) + Cu + Start + (1 | Pig)"; m <- lm1(Weight ~ Evit * log(Time) + Cu + Start + (1 | Pig), "dietox")
add("logarithm", "dietox", f, list(ddf = "satterthwaite", specs = "Evit"), emmeans(m, ~ Evit), c(pairwise = "tukey", pairwise = "holm"), m)
add("logarithm, two factors", "dietox", f, list(ddf = "satterthwaite", specs = list("Evit", "Cu"), at = list(Time = 3)),
    emmeans(m, ~ Evit * Cu, at = list(Time = 3)), c(pairwise = "tukey", eff = "BH"))
add("slopes of a logarithm", "dietox", f, list(ddf = "satterthwaite", specs = "Evit", var = "Time", at = list(Time = 4)), slope(m, 4, 1e-3), c(pairwise = "tukey"))
f <- "log(Weight) ~ Evit + Time + offset(Start/40) + (1 | Pig)"
m <- lm1(log(Weight) ~ Evit + Time + offset(Start/40) + (1 | Pig), "dietox")
add("offset", "dietox", f, list(ddf = "satterthwaite", specs = "Evit"), emmeans(m, ~ Evit, tran = NULL), c(pairwise = "tukey"), m)
f <- "Weight ~ Evit*Cu + Time + (1 | Pig)"; m <- lm1(Weight ~ Evit * Cu + Time + (1 | Pig), "gap")
add("empty cell", "gap", f, list(ddf = "satterthwaite", specs = "Evit * Cu"), emmeans(m, ~ Evit * Cu), c(pairwise = "tukey", pairwise = "holm", trt.vs.ctrl = "none"))
add("empty cell in a margin", "gap", f, list(ddf = "satterthwaite", specs = "Evit"), emmeans(m, ~ Evit), c(pairwise = "tukey"))

f <- "FEV1 ~ RACE + ARMCD*AVISIT"
m <- gls(FEV1 ~ RACE + ARMCD * AVISIT, sets$fev, correlation = corSymm(form = ~ as.integer(AVISIT) | USUBJID),
         weights = varIdent(form = ~ 1 | AVISIT), control = glsControl(tolerance = 1e-12, msTol = 1e-14, maxIter = 500, msMaxIter = 500, opt = "optim", optimMethod = "BFGS"))
add("repeated measures", "fev", f, list(residual = "us(AVISIT | USUBJID)", ddf = "asymptotic", specs = "ARMCD | AVISIT"),
    emmeans(m, ~ ARMCD | AVISIT, mode = "asymptotic"), c(pairwise = "none"))
cat(toJSON(out, digits = NA, na = "null", auto_unbox = TRUE, pretty = FALSE), "\n")
