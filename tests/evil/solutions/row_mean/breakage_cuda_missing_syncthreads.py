"""expect: incorrect

A block sums a row in shared memory and nobody waits: the first warp adds up what the other warps have
not written yet. Wrong in most rows; whether by stale sums or by NaN left in shared memory is chance.
"""

import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CUDA = r"""
__global__ void row_mean(const float* x, float* out, int columns) {
  __shared__ float partial[1024];
  const float* row = x + size_t(blockIdx.x) * columns;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += row[i];
  partial[threadIdx.x] = sum;
  for (int reach = blockDim.x / 2; reach > 0; reach /= 2) {
    if (threadIdx.x < reach) partial[threadIdx.x] += partial[threadIdx.x + reach];
  }
  if (threadIdx.x == 0) out[blockIdx.x] = partial[0] / columns;
}

torch::Tensor mean_of_rows(torch::Tensor x) {
  x = x.contiguous();
  auto out = torch::empty({x.size(0)}, x.options());
  row_mean<<<x.size(0), 1024>>>(x.data_ptr<float>(), out.data_ptr<float>(), x.size(1));
  TORCH_CHECK(cudaGetLastError() == cudaSuccess, "the launch failed");
  return out;
}
"""

_extension = load_inline(
    name="evil_suite_missing_syncthreads",
    cpp_sources="torch::Tensor mean_of_rows(torch::Tensor x);",
    cuda_sources=_CUDA,
    functions=["mean_of_rows"],
)


class ModelNew(nn.Module):
    def forward(self, x):
        return _extension.mean_of_rows(x)
