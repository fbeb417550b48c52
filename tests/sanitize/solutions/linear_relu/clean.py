"""expect: correct

torch's own matrix product, then a kernel with shared memory and its barrier: nothing to be found.
"""

import torch.nn as nn
import torch.nn.functional as F
from torch.utils.cpp_extension import load_inline

_CUDA = """
__global__ void relu_clean(const float* in, float* out, int count) {
  __shared__ float cell[128];
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  cell[threadIdx.x] = i < count ? in[i] : 0.0f;
  __syncthreads();
  const float mirrored = cell[127 - threadIdx.x];
  __syncthreads();
  cell[127 - threadIdx.x] = (mirrored < 0.0f ? 0.0f : mirrored);
  __syncthreads();
  if (i < count) out[i] = cell[threadIdx.x];
}

torch::Tensor clean(torch::Tensor product) {
  product = product.contiguous();
  auto out = torch::empty_like(product);
  const int count = product.numel();
  relu_clean<<<(count + 127) / 128, 128>>>(product.data_ptr<float>(), out.data_ptr<float>(), count);
  return out;
}
"""

_extension = load_inline(
    name="sanitize_suite_clean",
    cpp_sources="torch::Tensor clean(torch::Tensor product);",
    cuda_sources=_CUDA,
    functions=["clean"],
    extra_cuda_cflags=["-lineinfo"],
)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return _extension.clean(F.linear(x, self.linear.weight, self.linear.bias))
