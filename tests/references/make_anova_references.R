# Type I, II and III tables of lmerTest, with Satterthwaite's and Kenward and Roger's degrees of freedom.
# Run in this folder: Rscript make_anova_references.R > anova.json
# The data, data/factors_unb.csv, are made here too: unbalanced. An entry leaves out the rows of the cells
# of a x b or a x b x c in `without`. lmerTest 3.1-3, pbkrtest, lme4 1.1-31.
suppressPackageStartupMessages({library(lmerTest); library(jsonlite)})

make_data <- function() {
  set.seed(20)
  n <- 210
  g <- sample(28, n, TRUE)
  d <- data.frame(
    g = sprintf("g%02d", g),
    a = sample(c("p", "q", "r"), n, TRUE, c(0.5, 0.3, 0.2)),
    b = sample(c("u", "v"), n, TRUE, c(0.65, 0.35)),
    x = round(rnorm(n, 2), 2)
  )
  d$c <- ifelse(g %% 3 == 0, "k", ifelse(g %% 3 == 1, "l", "m"))
  effects <- 0.5 * (d$a == "q") - 0.3 * (d$a == "r") * (d$b == "v") + 0.4 * (d$c == "m") + 0.2 * d$x
  d$y <- round(10 + effects + 0.8 * rnorm(28)[g] + 0.3 * rnorm(28)[g] * d$x + rnorm(n), 3)
  d
}

anova_rows <- function(model, type, ddf) {
  table <- suppressMessages(anova(model, type = type, ddf = ddf))
  data.frame(term = rownames(table), num_df = table$NumDF, den_df = table$DenDF,
             F = table$`F value`, p = table$`Pr(>F)`)
}

entry <- function(id, formula, data, ..., rows = rep(TRUE, nrow(data)), drop = character(), reml = TRUE,
                  ours = deparse1(formula)) {
  model <- suppressMessages(lmer(formula, data[rows, ], REML = reml, ...,
    control = lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9))))
  methods <- c(satterthwaite = "Satterthwaite", `kenward-roger` = "Kenward-Roger")
  if (!reml) methods <- methods[1]
  tables <- lapply(methods, function(ddf) {
    types <- lapply(c(1, 2, 3), function(type) anova_rows(model, type, ddf))
    setNames(types, c("1", "2", "3"))
  })
  list(id = unbox(id), r_formula = unbox(deparse1(formula)), formula = unbox(ours), without = drop,
       reml = unbox(reml), tables = tables)
}

d <- make_data()
write.csv(d, "data/factors_unb.csv", row.names = FALSE, quote = FALSE)
d[c("a", "b", "c", "g")] <- lapply(d[c("a", "b", "c", "g")], factor)
d$x2 <- 2 * d$x
empty <- function(...) {
  cells <- c(...)
  !(paste0(d$a, d$b, d$c) %in% cells | paste0(d$a, d$b) %in% cells)
}
one <- "rv"
three <- c("puk", "qvl", "rvm", "rvk")
found <- list(
  entry("factor_by_factor", y ~ a * b + (1 | g), d),
  entry("factor_by_factor_ml", y ~ a * b + (1 | g), d, reml = FALSE),
  entry("factor_by_number", y ~ a * x + (1 | g), d),
  entry("slopes", y ~ a * x + b + (x | g), d),
  entry("two_way_all", y ~ (a + b + x)^2 + (1 | g), d, ours = "y ~ (a + b + x)**2 + (1 | g)"),
  entry("three_factors", y ~ a * b * c + x + (1 | g), d),
  entry("no_margin", y ~ a + a:x + b + (1 | g), d),
  entry("no_intercept", y ~ 0 + a + b + (1 | g), d),
  entry("one_empty_cell", y ~ a * b + x + (1 | g), d, rows = empty(one), drop = one),
  entry("one_empty_cell_number", y ~ a * b * x + (1 | g), d, rows = empty(one), drop = one),
  entry("three_empty_cells", y ~ a * b * c + x + (1 | g), d, rows = empty(three), drop = three),
  entry("three_empty_cells_helmert", y ~ a * b * c + x + (1 | g), d, rows = empty(three), drop = three,
        contrasts = list(a = "contr.helmert", b = "contr.sum", c = "contr.helmert"),
        ours = "y ~ C(a, contr.helmert) * C(b, contr.sum) * C(c, contr.helmert) + x + (1 | g)"),
  entry("empty_margins", y ~ a * b + b * c + (1 | g), d, rows = empty(one), drop = one),
  entry("repeated_number", y ~ a * x + x2 + (1 | g), d)
)
cat(toJSON(found, digits = NA, auto_unbox = FALSE, na = "null", pretty = 1), "\n")
