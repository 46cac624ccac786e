"""Statistics for paired comparisons on shared, clustered questions. A leaf: numpy and standard library.

bootstrap   intervals of any metric and of differences        swap       permutation p-values of any metric
retention   share of the full score that is kept              mcnemar    exact test for right or wrong answers
seeds       seeds as a second source of variance              holm       several benchmarks, one claim
pairing     the same clusters in the same order               power      what a benchmark can show
"""
