"""expect: incorrect / timed_output

Launches a kernel on a stream of its own that watches the inputs' memory: as soon as the judge has written new values
there, and before the work that waits for the judge's release may begin, it multiplies them. The released work then
only copies the product. It sees the new values while they are still being written, so
some of its products are wrong; what it wins by starting early is inside the judge's window, which begins before they
are written.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CUDA = """
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAStream.h>

// One block: waits (a fifth of a second at most) until the last word of b is new, and a moment longer.
__global__ void wait_for_news(const float* b, long n, unsigned old) {
  volatile const unsigned* last = (volatile const unsigned*)(b + n - 1);
  const long long start = clock64();
  while ((*last == old || *last == 0xFFFFFFFFu) && clock64() - start < 400000000LL) {}
  const long long seen = clock64();
  while (clock64() - seen < 20000LL) {}
}

void watch(torch::Tensor b, long old) {
  const auto stream = c10::cuda::getCurrentCUDAStream();
  wait_for_news<<<1, 1, 0, stream>>>(b.data_ptr<float>(), b.numel(), (unsigned)old);
}
"""

_extension = load_inline(
    name="evil_suite_peeks_ahead",
    cpp_sources="void watch(torch::Tensor b, long old);",
    cuda_sources=_CUDA,
    functions=["watch"],
)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.side = None
        self.products, self.marks = {}, {}

    def forward(self, a, b):
        if self.side is None:
            self.side = torch.cuda.Stream()
        place = b.data_ptr()
        if place not in self.products:
            self.products[place], self.marks[place] = a @ b, b.flatten()[-1:].clone().view(torch.int32)
            return self.products[place].clone()
        with torch.cuda.stream(self.side):
            old = int(self.marks[place].item()) & 0xFFFFFFFF
            _extension.watch(b, old)
            torch.mm(a, b, out=self.products[place])
            self.marks[place].copy_(b.flatten()[-1:].view(torch.int32))
            done = self.side.record_event()
        torch.cuda.current_stream().wait_event(done)
        return self.products[place].clone()
