"""expect: load_error / import

Is the reference: a subclass of whatever class named Model lives in this process, its weights and its answers taken
from the instance that the judge has already run. In a worker there is no reference to inherit from.
"""

import gc
import sys

import torch.nn as nn


def _reference_class():
    for module in list(sys.modules.values()):
        found = vars(module).get("Model") if hasattr(module, "__dict__") else None
        if isinstance(found, type) and issubclass(found, nn.Module) and hasattr(module, "get_inputs"):
            return found
    for found in nn.Module.__subclasses__():
        if found.__name__ == "Model":
            return found
    raise RuntimeError("there is no reference here to inherit from")


Model = _reference_class()
_answers = {}


def _remember(_, inputs, output):
    _answers[inputs[0].data_ptr()] = output


for _instance in gc.get_objects():
    if type(_instance) is Model:
        _instance.register_forward_hook(_remember)


class ModelNew(Model):
    def forward(self, x):
        known = _answers.get(x.data_ptr())
        return super().forward(x) if known is None else known
