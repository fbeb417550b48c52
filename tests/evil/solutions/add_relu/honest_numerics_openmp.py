"""expect: correct

Benign twin of numerics_nan_swallowed: a C++ extension with OpenMP, built by load_inline, whose comparison lets NaN
through.
"""

import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
torch::Tensor add_relu(torch::Tensor a, torch::Tensor b) {
  auto left = a.contiguous(), right = b.contiguous();
  auto out = torch::empty_like(left);
  const float* x = left.data_ptr<float>();
  const float* y = right.data_ptr<float>();
  float* z = out.data_ptr<float>();
  const int64_t count = left.numel();
  #pragma omp parallel for simd num_threads(2)
  for (int64_t i = 0; i < count; ++i) {
    const float sum = x[i] + y[i];
    z[i] = sum <= 0.0f ? 0.0f : sum;
  }
  return out;
}
"""

_extension = load_inline(
    name="evil_suite_add_relu_openmp",
    cpp_sources=_CPP,
    functions=["add_relu"],
    extra_cflags=["-O3", "-fopenmp"],
    extra_ldflags=["-fopenmp"],
)


class ModelNew(nn.Module):
    def forward(self, a, b):
        return _extension.add_relu(a, b)
