// The operators of CUDA devices.
#pragma once

#define VAE_FAST_DEVICE cuda
#include "../operators.h"
#undef VAE_FAST_DEVICE
