# Once per model of which it is asked: tests and intervals, from the fit alone where its sums tell.


rule infer:
    input:
        fit=f"{RESULTS}/models/{{model}}/fit/fit.json",
        rows=rows_to_infer,
    output:
        manifest=report(
            f"{RESULTS}/models/{{model}}/inference/infer.json",
            caption="../report/infer.rst",
            category="Inference",
            labels={"model": "{model}"},
        ),
    log:
        f"{RESULTS}/logs/infer/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/infer/{{model}}.tsv"
    conda:
        "../envs/mixedflow.yaml"
    threads: 1
    resources:
        mem_mb=memory_of_fit,
        runtime=minutes_of_model,
    params:
        fit=subpath(input.fit, parent=True),
        options=infer_options,
        rows=infer_rows,
        out=subpath(output.manifest, parent=True),
        version=VERSION,
    message:
        "Testing the model {wildcards.model}"
    shell:
        "mixedflow --record {log:q} infer {params.fit:q} {params.options} {params.rows:q} --threads={threads}"
        " --out {params.out:q} > {log:q} 2>&1"
