// What an extension's host unit needs of torch's own header of this name, and no more: tensors and Python bindings.
// The C++ frontend (modules, optimisers, data loaders) is left out: half of the time that a build takes is spent on it.
// Where something of it is missing, the build is done again with the stock header. nvcc gets what comes next.
#ifdef __CUDACC__
#include_next <torch/extension.h>
#else
#ifndef KBENCH_SHORT_EXTENSION
#define KBENCH_SHORT_EXTENSION
#include <torch/types.h>
#include <torch/csrc/Device.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>
#endif
#endif
