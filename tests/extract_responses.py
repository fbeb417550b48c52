"""Pieces that the raw responses of these tests are built from."""

from __future__ import annotations

import textwrap

HEAD = "import torch\nimport torch.nn as nn\n\n\n"
F = "```"


def model(marker: str) -> str:
    """A complete candidate that says which one it is."""
    return (
        f"{HEAD}class ModelNew(nn.Module):\n    # {marker}\n    def forward(self, x):\n        return torch.relu(x)\n"
    )


A, B = model("A"), model("B")
BODY = B.removeprefix(HEAD)
CUDA = "__global__ void relu(float* x) {\n  if (x[0] < 0) x[0] = 0;  // it's ModelNew's\n}\n"
INLINE = f'{HEAD}source = r"""\n{CUDA}"""\n\n{BODY}'
DOCSTRING = B.replace(
    "    # B\n", f'    """Doc.\n\n    {F}\n    y = ModelNew()(x)\n    {F}\n\n{F}python\ny\n{F}\n    """\n'
)
USAGE = B + "\n\nmodel = ModelNew().cuda()\nprint(model(example_input))\n"
UNDER_IF = "try:\n    import torch\nexcept ImportError:\n    torch = None\nif torch:\n    class ModelNew: pass\n"
ASSIGNED = "class Fast:\n    pass\n\n\nModelNew = Fast\n"
TYPED = "class Fast:\n    pass\n\n\nModelNew: type = Fast\n"
SPLIT_CLASS = "class ModelNew:\n    def __init__(self):\n"
SPLIT_BODY = "        self.x = 1\n"


def fence(code: str, label: str = "python", *, marker: str = F) -> str:
    return f"{marker}{label}\n{code}{marker}\n"


def quoted(text: str, prefix: str = "> ") -> str:
    return textwrap.indent(text, prefix, bool)


BROKEN = B.replace("def forward(self, x):", "def forward(self, x:")
