"""The mathematics: pure functions of tensors, to be read beside the papers.

Nothing here knows a model, a file or a clock. One module a subject: ``logprobs``, ``kl``,
``rewards``, ``scores``, ``ensembles``, ``advantages``, ``losses``. Wherever a mask is taken, True
means "counts", and what stands at a False position (even a NaN) has no influence on any result or
gradient.
"""
