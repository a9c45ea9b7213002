// Vectors of floats, for the kernels beside this file.

#pragma once

#include <cstdint>
#include <cstdlib>

#define UNROLL _Pragma("GCC unroll 16")

#ifdef __AVX512F__
constexpr int LANES = 16;  // floats of a vector
#else
constexpr int LANES = 8;
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

static inline vec load(const float *p) { return *(const loose *)p; }
static inline void store(float *p, vec x) { *(loose *)p = x; }

// Transpose: swap the off-diagonal blocks of S x S in each 2S x 2S, for S halved again and again.
template <int S = LANES / 2> static inline void transpose(vec (&x)[LANES]) {
    ivec even, odd;
    UNROLL for (int i = 0; i < LANES; i++) {
        even[i] = (i & ~S) + (i & S ? LANES : 0);
        odd[i] = even[i] + S;
    }
    UNROLL for (int i = 0; i < LANES; i++)
        if (!(i & S)) {
            vec upper = __builtin_shuffle(x[i], x[i + S], even);
            x[i + S] = __builtin_shuffle(x[i], x[i + S], odd);
            x[i] = upper;
        }
    if constexpr (S > 1) transpose<S / 2>(x);
}

static float *floats(long n) { return (float *)aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64); }
