# q-values by p.adjust and Bioconductor's qvalue: Rscript make_q_references.R > q_values.json
suppressMessages(library(qvalue))
library(jsonlite)
u <- ((1:500) * 0.6180339887498949) %% 1
p <- list(uniform = u, some = ifelse((1:500) %% 5 == 0, u^6, u), most = u^3)
out <- lapply(p, function(p) {
  found <- qvalue(p)
  list(p = p, BH = p.adjust(p, "BH"), storey = found$qvalues, pi0 = found$pi0)
})
cat(toJSON(out, digits = 12, auto_unbox = TRUE))
