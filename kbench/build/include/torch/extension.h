// What an extension needs of torch's own header of this name, and no more: tensors and, on the host, Python bindings.
// The C++ frontend (modules, optimisers, data loaders) is left out: half of the time that a build takes is spent on it.
// Where something of it is missing, the build is done again with the stock header.
#pragma once

#include <torch/types.h>
#ifndef __CUDACC__
#include <torch/csrc/Device.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>
#endif
