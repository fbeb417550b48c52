"""expect: runtime_error / device_fault

Writes far outside of everything it was given: the device faults and the process has lost its context. Where
candidates share a process, everyone after it fails too; its twin, judged later, must not.
"""

import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CUDA = """
__global__ void add_relu_kernel(const float* a, const float* b, float* out, long n) {
  const long i = blockIdx.x * (long)blockDim.x + threadIdx.x;
  if (i < n) out[i + (1LL << 40)] = fmaxf(a[i] + b[i], 0.0f);
}

torch::Tensor add_relu(torch::Tensor a, torch::Tensor b) {
  auto out = torch::empty_like(a);
  const long n = a.numel();
  add_relu_kernel<<<(n + 255) / 256, 256>>>(a.data_ptr<float>(), b.data_ptr<float>(), out.data_ptr<float>(), n);
  return out;
}
"""

_extension = load_inline(
    name="evil_suite_illegal_access",
    cpp_sources="torch::Tensor add_relu(torch::Tensor a, torch::Tensor b);",
    cuda_sources=_CUDA,
    functions=["add_relu"],
)


class ModelNew(nn.Module):
    def forward(self, a, b):
        return _extension.add_relu(a, b)
