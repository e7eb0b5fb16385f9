// The operators of the CPU.
#pragma once

#define VAE_FAST_DEVICE cpu
#include "../operators.h"
#undef VAE_FAST_DEVICE
