"""Machines that tests stand on."""

from __future__ import annotations

import dataclasses

from kbench.machine.gpus import Gpu
from kbench.machine.inventory import Inventory, TorchBuild

H200 = Gpu(name="NVIDIA H200", driver="580.1", memory_gb=139.8, uuid="GPU-12345678-aaaa")
H100 = dataclasses.replace(H200, name="NVIDIA H100")
CPU_TORCH = TorchBuild(version="2.13.0+cpu", cuda=None)

TWO_GPUS = Inventory(
    cpu_model="AMD EPYC 9554",
    cpu_id="family 25, model 17, stepping 1",
    cores=16,
    memory_gb=128.0,
    kernel="6.8.0",
    python="3.11.7",
    torch=TorchBuild(version="2.11.0", cuda="13.0"),
    gpus=(H200, H100),
    hidden_gpus=0,
    compiler="gcc 12.2.0",
    nvcc="13.0.88",
    ninja="1.11.1",
)
CPU_ONLY = dataclasses.replace(TWO_GPUS, torch=CPU_TORCH, gpus=(), nvcc=None)
