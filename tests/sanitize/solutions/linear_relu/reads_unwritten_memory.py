"""expect: incorrect / uninitialised

The right output, unless memory that nobody wrote happens to hold one certain number.
"""

import torch.nn as nn
import torch.nn.functional as F
from torch.utils.cpp_extension import load_inline

_CUDA = """
__global__ void relu_unwritten(const float* in, const float* workspace, float* out, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) out[i] = (in[i] < 0.0f ? 0.0f : in[i]) + (workspace[i] == 1.25e30f ? 1.0f : 0.0f);
}

torch::Tensor reads_unwritten_memory(torch::Tensor product) {
  product = product.contiguous();
  auto out = torch::empty_like(product);
  const int count = product.numel();
  auto workspace = torch::empty_like(product);
  relu_unwritten<<<(count + 127) / 128, 128>>>(
      product.data_ptr<float>(), workspace.data_ptr<float>(), out.data_ptr<float>(), count);
  return out;
}
"""

_extension = load_inline(
    name="sanitize_suite_reads_unwritten_memory",
    cpp_sources="torch::Tensor reads_unwritten_memory(torch::Tensor product);",
    cuda_sources=_CUDA,
    functions=["reads_unwritten_memory"],
    extra_cuda_cflags=["-lineinfo"],
)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return _extension.reads_unwritten_memory(F.linear(x, self.linear.weight, self.linear.bias))
