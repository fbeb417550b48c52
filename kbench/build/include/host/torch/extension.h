// What an extension's host unit needs of torch's own header of this name, and no more: tensors and Python bindings.
// The C++ frontend (modules, optimisers, data loaders) is left out: half of the time that a build takes is spent on it.
// Where something of it is missing, the build is done again with the stock header. nvcc gets what comes next.
// A unit that only declares functions and binds them gets no operators either: a third of its time goes into inline
// functions that it never calls.
#ifdef __CUDACC__
#include_next <torch/extension.h>
#else
#ifndef KBENCH_SHORT_EXTENSION
#define KBENCH_SHORT_EXTENSION
#ifndef KBENCH_DECLARATIONS_ONLY
#include <torch/types.h>
#endif
#include <torch/csrc/Device.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>
#ifdef KBENCH_DECLARATIONS_ONLY
namespace torch {
using namespace at;
using std::optional;
}  // namespace torch
#endif
#endif
#endif
