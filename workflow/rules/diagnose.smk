# Once per model: the second pass over the rows gives fitted values and residuals.


rule diagnose:
    input:
        fit=f"{RESULTS}/models/{{model}}/fit/fit.json",
        prepared=prepared_of_model,
    output:
        summary=f"{RESULTS}/models/{{model}}/diagnostics/summary.json",
    log:
        f"{RESULTS}/logs/diagnose/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/diagnose/{{model}}.tsv"
    conda:
        "../envs/mixedflow.yaml"
    threads: PLAN.threads
    resources:
        mem_mb=memory_of_model_pass,
        runtime=minutes_of_model,
    params:
        fit=subpath(input.fit, parent=True),
        prepared=subpath(input.prepared, parent=True),
        dask=dask_options,
        out=subpath(output.summary, parent=True),
        version=VERSION,
    message:
        "Diagnosing the model {wildcards.model}"
    shell:
        "mixedflow --record {log:q} diagnose {params.fit:q} {params.prepared:q} {params.dask}"
        " --out {params.out:q} > {log:q} 2>&1"
