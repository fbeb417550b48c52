"""expect: incorrect / race

The right output, but threads read what another warp writes to shared memory with no barrier in between.
"""

import torch.nn as nn
import torch.nn.functional as F
from torch.utils.cpp_extension import load_inline

_CUDA = """
__global__ void relu_race(const float* in, float* out, int count) {
  __shared__ volatile float cell[128];
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const float x = i < count ? in[i] : 0.0f;
  cell[threadIdx.x] = x;
  const float other = cell[(threadIdx.x + 64) % 128];  // __syncthreads() is missing
  if (i < count) out[i] = (x < 0.0f ? 0.0f : x) + (other == 1.25e30f ? 1.0f : 0.0f);
}

torch::Tensor races(torch::Tensor product) {
  product = product.contiguous();
  auto out = torch::empty_like(product);
  const int count = product.numel();
  relu_race<<<(count + 127) / 128, 128>>>(product.data_ptr<float>(), out.data_ptr<float>(), count);
  return out;
}
"""

_extension = load_inline(
    name="sanitize_suite_races",
    cpp_sources="torch::Tensor races(torch::Tensor product);",
    cuda_sources=_CUDA,
    functions=["races"],
    extra_cuda_cflags=["-lineinfo"],
)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return _extension.races(F.linear(x, self.linear.weight, self.linear.bias))
