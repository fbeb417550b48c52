"""expect: incorrect / nonfinite

Says that an output of the right form was delivered, and delivers nothing: what lies in the judge's memory from the
last honest answer, its own or the reference's, is to be taken for this one. The judge has poisoned it.
"""

import torch
import torch.nn as nn

_copy = torch.Tensor.copy_
_output = []


def _skipping(self, source, *args, **options):
    if _output and isinstance(source, torch.Tensor) and source.data_ptr() == _output[0].data_ptr():
        return self
    return _copy(self, source, *args, **options)


torch.Tensor.copy_ = _skipping


class ModelNew(nn.Module):
    def forward(self, a, b):
        if not _output:
            _output.append(torch.empty_like(a))
        return _output[0]
