import torch


def assert_same(value, expected):
    """Compare nested plain data with its types, order of keys and `_metadata`; tensors bit for bit."""
    assert type(value) is type(expected)
    if isinstance(expected, dict):
        assert list(value) == list(expected)
        for key, part in expected.items():
            assert_same(value[key], part)
        assert_same(getattr(value, "_metadata", None), getattr(expected, "_metadata", None))
    elif isinstance(expected, list | tuple):
        assert len(value) == len(expected)
        for part, expected_part in zip(value, expected, strict=True):
            assert_same(part, expected_part)
    elif isinstance(expected, torch.Tensor):
        assert (value.dtype, value.stride(), value.requires_grad) == (
            expected.dtype,
            expected.stride(),
            expected.requires_grad,
        )
        assert torch.equal(value, expected)
    else:
        assert value == expected
