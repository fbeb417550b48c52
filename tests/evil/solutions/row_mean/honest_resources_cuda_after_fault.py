"""expect: correct

Benign twin of resources_cuda_illegal_access: an innocent kernel, judged on the same device after that fault and after
the kernel that spins. Neither may reach it.
"""

import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CUDA = """
__global__ void row_mean_kernel(const float* x, float* out, int columns) {
  __shared__ float sums[256];
  const float* row = x + (long)blockIdx.x * columns;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < columns; i += 256) sum += row[i];
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int half = 128; half > 0; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) out[blockIdx.x] = sums[0] / columns;
}

torch::Tensor row_mean(torch::Tensor x) {
  auto out = torch::empty({x.size(0)}, x.options());
  row_mean_kernel<<<x.size(0), 256>>>(x.data_ptr<float>(), out.data_ptr<float>(), x.size(1));
  return out;
}
"""

_extension = load_inline(
    name="evil_suite_after_fault",
    cpp_sources="torch::Tensor row_mean(torch::Tensor x);",
    cuda_sources=_CUDA,
    functions=["row_mean"],
)


class ModelNew(nn.Module):
    def forward(self, x):
        return _extension.row_mean(x.contiguous())
