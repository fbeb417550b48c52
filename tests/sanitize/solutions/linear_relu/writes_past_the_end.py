"""expect: incorrect / out_of_bounds

The right output, and one element written past the end of a workspace: torch's allocator rounds its size up.
"""

import torch.nn as nn
import torch.nn.functional as F
from torch.utils.cpp_extension import load_inline

_CUDA = """
__global__ void relu_past(const float* in, float* out, float* workspace, int room, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= room) workspace[i] = 1.0f;  // one too many
  if (i < count) out[i] = (in[i] < 0.0f ? 0.0f : in[i]);
}

torch::Tensor writes_past_the_end(torch::Tensor product) {
  product = product.contiguous();
  auto out = torch::empty_like(product);
  const int count = product.numel();
  auto workspace = torch::empty({100}, product.options());
  relu_past<<<(count + 127) / 128, 128>>>(
      product.data_ptr<float>(), out.data_ptr<float>(), workspace.data_ptr<float>(), 100, count);
  return out;
}
"""

_extension = load_inline(
    name="sanitize_suite_writes_past_the_end",
    cpp_sources="torch::Tensor writes_past_the_end(torch::Tensor product);",
    cuda_sources=_CUDA,
    functions=["writes_past_the_end"],
    extra_cuda_cflags=["-lineinfo"],
)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return _extension.writes_past_the_end(F.linear(x, self.linear.weight, self.linear.bias))
