// What every scalar formula needs to know about its compiler: how a function is marked for host and
// device, whether a fused multiply-add is one instruction, and the namespace of this instruction set.
#pragma once

#ifdef __CUDACC__
#define VAE_FAST_HD __host__ __device__ __forceinline__
#else
#define VAE_FAST_HD inline __attribute__((always_inline))
#endif

// A function of double arithmetic, which is never vectorised: on the host its code need not stand everywhere.
#ifdef __CUDACC__
#define VAE_FAST_HD_DOUBLE VAE_FAST_HD
#else
#define VAE_FAST_HD_DOUBLE inline __attribute__((noinline))
#endif

#ifdef __CUDACC__
#define VAE_FAST_UNROLL _Pragma("unroll")
#define VAE_FAST_NO_UNROLL _Pragma("unroll 1")
#else
#define VAE_FAST_UNROLL _Pragma("GCC unroll 16")
#define VAE_FAST_NO_UNROLL
#endif

#define VAE_FAST_NOINLINE __attribute__((noinline))

// The CPU kernels include these headers once per instruction set, each time in a namespace of its own:
// functions of the same name compiled for different machines must not be merged by the linker.
#ifndef VAE_FAST_ISA
#define VAE_FAST_ISA portable
#endif
