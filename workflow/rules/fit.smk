# Once per model, from the cross-products alone.


rule fit:
    input:
        design=design_of_model,
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
    threads: 1
    resources:
        mem_mb=PLAN.memory_mb,
    params:
        design=subpath(input.design, parent=True),
        options=fit_options,
        out=subpath(output.fit, parent=True),
        version=VERSION,
    message:
        "Fitting the model {wildcards.model}"
    shell:
        "mixedflow fit {params.design:q} {params.options} --threads {threads}"
        " --out {params.out:q} > {log:q} 2>&1"
