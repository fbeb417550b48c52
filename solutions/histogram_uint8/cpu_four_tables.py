"""Histograms of bytes on the CPU: eight bytes a load, four tables side by side.

Equal neighbours would have to wait for each other's addition in one table; with four tables, used in turn, they do
not. The tables are summed at the end. Each plane is counted in a few parts, which threads share.

Sound because counts are integers: parts and tables may be added in any order.

Where autograd records, the plain operators run instead, as for other dtypes.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = r"""
#include <ATen/Parallel.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int kBins = 256;
constexpr int kTables = 4;
constexpr int64_t kPart = int64_t{1} << 17;  // bytes of a part; its counts fit 32 bits

void count(const uint8_t* in, int64_t n, int64_t* out) {
  uint32_t tables[kTables][kBins] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, in + i, 8);
#pragma GCC unroll 8
    for (int b = 0; b < 8; ++b) ++tables[b % kTables][eight >> (8 * b) & 255];
  }
  for (; i < n; ++i) ++tables[0][in[i]];
  for (int bin = 0; bin < kBins; ++bin) {
    int64_t sum = 0;
    for (const auto& table : tables) sum += table[bin];
    out[bin] = sum;
  }
}

}  // namespace

at::Tensor histogram_uint8(at::Tensor x) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(x.dim() >= 2 && x.scalar_type() == at::kByte && x.device().is_cpu(), "expected a uint8 CPU tensor");
  x = x.contiguous();
  at::Tensor out = at::zeros({x.size(0), x.size(1), kBins}, x.options().dtype(at::kLong));
  if (x.numel() == 0) return out;
  const int64_t planes = x.size(0) * x.size(1), length = x.numel() / planes, parts = (length + kPart - 1) / kPart;
  const uint8_t* in = x.const_data_ptr<uint8_t>();
  int64_t* result = out.mutable_data_ptr<int64_t>();
  std::vector<int64_t> partial(planes * parts * kBins);
#pragma omp parallel for schedule(static) num_threads(at::get_num_threads())
  for (int64_t task = 0; task < planes * parts; ++task) {
    const int64_t plane = task / parts, part = task % parts;
    const int64_t begin = length * part / parts, end = length * (part + 1) / parts;
    count(in + plane * length + begin, end - begin, &partial[task * kBins]);
  }
  for (int64_t task = 0; task < planes * parts; ++task)
    for (int bin = 0; bin < kBins; ++bin) result[task / parts * kBins + bin] += partial[task * kBins + bin];
  return out;
}
"""


_extension = load_inline(
    name="kb_histogram_uint8_cpu",
    cpp_sources=_CPP,
    functions=["histogram_uint8"],
    extra_cflags=["-O3", "-march=native", "-fopenmp", "-fno-math-errno"],
    extra_ldflags=["-fopenmp"],
)


class ModelNew(nn.Module):
    def forward(self, x):
        if torch.is_grad_enabled() or x.dtype != torch.uint8 or x.dim() < 3:
            values = x.flatten(2).long()
            counts = torch.zeros(*x.shape[:2], 256, dtype=torch.int64, device=x.device)
            return counts.scatter_add(2, values, torch.ones_like(values))
        return _extension.histogram_uint8(x)
