"""Reduction methods, one per file; conf/reducer/<name>.yaml puts each into the grid.

Every docstring gives source, formula, shapes, what differs from the official code, and "Cost:" what the method itself
computes: operations, 2 per multiply-add, leading terms alone (`flops` has them all), and its syncs, where the host
waits for the device (what the session reads for itself, a prompt's lengths or a trace, aside). Letters as in
`prunegrid.reduce.view`; C width of the ViT, D of the language model, T tokens of the prompt. Rows of attention are
formed of recorded queries and keys; where all are needed they pass in blocks, so that nothing holds an attention
matrix. N x N similarities of tokens are named where there are any.
"""
