# Once per model: from the cross-products alone, or in shards from the prepared rows.


rule fit:
    input:
        source=source_of_model,
    output:
        fit=report(
            f"{RESULTS}/models/{{model}}/fit/fit.json",
            caption="../report/fit.rst",
            category="Fits",
            labels={"model": "{model}"},
        ),
    log:
        f"{RESULTS}/logs/fit/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fit/{{model}}.tsv"
    conda:
        "../envs/mixedflow.yaml"
    threads: fit_threads
    resources:
        mem_mb=memory_of_fit,
        runtime=minutes_of_model,
    params:
        source=subpath(input.source, parent=True),
        options=fit_options,
        place=fit_place,
        out=subpath(output.fit, parent=True),
        version=VERSION,
    message:
        "Fitting the model {wildcards.model}"
    shell:
        "mixedflow --record {log:q} fit {params.source:q} {params.options} {params.place}"
        " --out {params.out:q} > {log:q} 2>&1"
