"""torch's operations that an `update` can use in a kernel, by the names that torch's dispatcher has for them."""

# torch's names of elementwise operations, and the number of operands of each.
ELEMENTWISE = {
    **dict.fromkeys(
        (
            "neg reciprocal exp expm1 log log1p log2 sqrt rsqrt abs sgn sin cos erf tanh sigmoid relu "
            "floor round trunc logical_not isnan"
        ).split(),
        1,
    ),
    **dict.fromkeys("add sub mul div pow maximum minimum eq ne lt le gt ge logical_and logical_or".split(), 2),
    "where": 3,
}
# Other names of them.
SYNONYMS = {
    "sign": "sgn",
    "bitwise_not": "logical_not",
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "__and__": "logical_and",
    "__or__": "logical_or",
    "true_divide": "div",
}
# The operands in which an operation is linear: such an operand can be a sum over the batch.
LINEAR = {"neg": {0}, "mul": {0, 1}, "div": {0}, "add": {0, 1}, "sub": {0, 1}}
# Operations that move elements and compute nothing.
MOVES = "cat stack clone slice_scatter select_scatter repeat flip roll index_select constant_pad_nd contiguous".split()
# Operations that change the type of elements.
CASTS = ("_to_copy", "convert_element_type")
# Operations that make a tensor of constants in the shape of another tensor.
CONSTANTS = "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty".split()
