// Softmax attention in fp32 for CPUs with AVX2 or AVX-512; see attention_cpu.py.
//
// A block of ROWS queries meets the keys in blocks that stay in the first-level cache. The products over
// channels and over keys keep their sums in registers (24 and 16 of 32, or 12 of 16), which PyTorch's kernel leaves to a matrix
// library whose overhead is as long as such thin products. Softmax: Milakov and Gimelshein, "Online
// normalizer calculation for softmax", arXiv:1805.02867. Results do not depend on the number of
// threads.

#include "vectors.h"

#include <cmath>
#include <cstring>

#ifndef HEAD
#define HEAD 32  // channels of a head, a multiple of 32
#endif
// Inlined, sums would be spilled from registers to the stack.
#define KERNEL __attribute__((noinline)) static void

constexpr int ROWS = LANES == 16 ? 8 : 6;   // queries of a block
constexpr int WIDTH = LANES == 16 ? 3 : 2;  // vectors of keys whose scores are summed at once
constexpr int PANEL = WIDTH * LANES;  // keys whose channels lie side by side
constexpr int STRIDE = 528;           // of rows of scores; no power of two, whose rows share cache sets
constexpr long KEYS = 512;            // most keys of a block
constexpr float LOG2E = 1.44269504f, LN2 = 0.693147181f;

static inline vec max(vec x, vec y) { return x > y ? x : y; }

// 2^x for x <= 0 (but for rounding), within 1.5 units in the last place; 2^-126 below it. NaN stays NaN.
static inline vec exp2(vec x) {
    x = x < -126.0f ? vec{} - 126.0f : x;
    vec shifted = x + 12582912.0f;  // 1.5 * 2^23: the last bits are the rounded x
    vec f = x - (shifted - 12582912.0f);
    vec p = f * 1.327646679e-03f + 9.675541293e-03f;  // minimax on [-0.5, 0.5]
    p = p * f + 5.550713290e-02f;
    p = p * f + 2.402211972e-01f;
    p = p * f + 6.931469671e-01f;
    p = p * f + 1.0f;
    return (vec)((ivec)p + ((ivec)shifted << 23));
}

// Lanes i and i ^ S of x in each other's place.
template <int S> static inline vec flipped(vec x) {
    ivec at;
    UNROLL for (int i = 0; i < LANES; i++) at[i] = i ^ S;
    return __builtin_shuffle(x, at);
}
template <int S = LANES / 2> static inline float sum(vec x) {
    x += flipped<S>(x);
    if constexpr (S > 1) return sum<S / 2>(x);
    else return x[0];
}
template <int S = LANES / 2> static inline float top(vec x) {
    x = max(x, flipped<S>(x));
    if constexpr (S > 1) return top<S / 2>(x);
    else return x[0];
}

// Have a row brought into the cache. Nothing happens where there is none, as behind the last.
template <bool WRITE = false> static inline void prefetch(const float *row) {
    for (int c = 0; c < HEAD; c += 16) __builtin_prefetch(row + c, WRITE);
}

// Rows (n, HEAD) -> panels of (HEAD, PANEL), zeros behind the last row.
static void pack(const float *rows, long stride, long n, float *out) {
    for (long j = 0; j < n; j += LANES)
        for (int c = 0; c < HEAD; c += LANES) {
            vec x[LANES];
            UNROLL for (int i = 0; i < LANES; i++) x[i] = j + i < n ? load(rows + (j + i) * stride + c) : vec{};
            transpose(x);
            float *to = out + j / PANEL * PANEL * HEAD + c * PANEL + j % PANEL;
            UNROLL for (int i = 0; i < LANES; i++) store(to + i * PANEL, x[i]);
        }
}

// ROWS rows side by side, times `factor`; zeros for those behind the first `count`.
static void copy_rows(const float *rows, long stride, long count, float factor, float *out) {
    for (long r = 0; r < ROWS; r++)
        for (int c = 0; c < HEAD; c += LANES)
            store(out + r * HEAD + c, r < count ? load(rows + r * stride + c) * factor : vec{});
}

// out (ROWS, STRIDE) = x (ROWS, HEAD) times a panel, W vectors of it.
template <int W> static inline void panel_product(const float *x, const float *panel, float *out) {
    vec sums[ROWS][W] = {};
    for (int c = 0; c < HEAD; c++) {
        vec y[W];
        UNROLL for (int w = 0; w < W; w++) y[w] = load(panel + c * PANEL + w * LANES);
        UNROLL for (int r = 0; r < ROWS; r++)
            UNROLL for (int w = 0; w < W; w++) sums[r][w] += x[r * HEAD + c] * y[w];
    }
    UNROLL for (int r = 0; r < ROWS; r++)
        UNROLL for (int w = 0; w < W; w++) store(out + r * STRIDE + w * LANES, sums[r][w]);
}
KERNEL inner_products(const float *x, const float *panels, long n, float *out) {
    long j = 0;
    for (; j + PANEL - LANES < n; j += PANEL) panel_product<WIDTH>(x, panels + j * HEAD, out + j);
    if (WIDTH > 2 && j + LANES < n) panel_product<2>(x, panels + j * HEAD, out + j);
    else if (j < n) panel_product<1>(x, panels + j * HEAD, out + j);
}

// scores (rows, STRIDE) += bias (rows, n), for powers of 2.
KERNEL add_bias(const float *bias, long stride, long rows, long n, float *scores) {
    for (long r = 0; r < rows; r++) {
        long j = 0;
        for (; j + LANES <= n; j += LANES)
            store(scores + r * STRIDE + j, load(scores + r * STRIDE + j) + load(bias + r * stride + j) * LOG2E);
        for (; j < n; j++) scores[r * STRIDE + j] += bias[r * stride + j] * LOG2E;
    }
}

// out (ROWS, HEAD) += weights (ROWS, STRIDE) times rows (n, HEAD), 2 * LANES channels of them. `prepare(r, j)`
// computes row r of the weights of LANES keys from j on. It is called between the products of the keys before them,
// which leave most units of the processor idle.
template <class Prepare>
KERNEL add_weighted_rows(const float *weights, const float *rows, long n, float *out, const Prepare prepare) {
    vec sums[ROWS][2];
    UNROLL for (int r = 0; r < ROWS; r++)
        UNROLL for (int c = 0; c < 2; c++) sums[r][c] = load(out + r * HEAD + c * LANES);
    const auto add = [&](long j) {
        vec x[2] = {load(rows + j * HEAD), load(rows + j * HEAD + LANES)};
        UNROLL for (int r = 0; r < ROWS; r++)
            UNROLL for (int c = 0; c < 2; c++) sums[r][c] += weights[r * STRIDE + j] * x[c];
    };
    UNROLL for (int r = 0; r < ROWS; r++) prepare(r, 0);
    long j = 0;
    for (; j + LANES < n; j += LANES)
        UNROLL for (int r = 0; r < ROWS; r++) {
            prepare(r, j + LANES);
            UNROLL for (int i = r * LANES / ROWS; i < (r + 1) * LANES / ROWS; i++) add(j + i);
        }
    for (; j < n; j++) add(j);
    UNROLL for (int r = 0; r < ROWS; r++)
        UNROLL for (int c = 0; c < 2; c++) store(out + r * HEAD + c * LANES, sums[r][c]);
}
static void nothing(int, long) {}  // where all weights have been computed

// rows (n, HEAD) += weights (ROWS, STRIDE), transposed, times x (ROWS, HEAD), 2 * LANES channels of them.
KERNEL add_outer_products(const float *weights, const float *x, long n, float *rows) {
    vec y[ROWS][2];
    UNROLL for (int r = 0; r < ROWS; r++)
        UNROLL for (int c = 0; c < 2; c++) y[r][c] = load(x + r * HEAD + c * LANES);
    for (long j = 0; j < n; j++) {
        vec sums[2] = {load(rows + j * HEAD), load(rows + j * HEAD + LANES)};
        UNROLL for (int r = 0; r < ROWS; r++)
            UNROLL for (int c = 0; c < 2; c++) sums[c] += weights[r * STRIDE + j] * y[r][c];
        UNROLL for (int c = 0; c < 2; c++) store(rows + j * HEAD + c * LANES, sums[c]);
    }
}

// Scores of n further keys, to be weighted by 2^(score - highest): highest, total and sums follow.
KERNEL raise_highest(float *scores, long n, bool first, float *highest, float *total, float *sums) {
    for (int r = 0; r < ROWS; r++)
        for (long j = n; j % LANES; j++) scores[r * STRIDE + j] = -INFINITY;
    vec peak[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++) peak[r] = load(scores + r * STRIDE);
    for (long j = LANES; j < n; j += LANES)
        UNROLL for (int r = 0; r < ROWS; r++) peak[r] = max(load(scores + r * STRIDE + j), peak[r]);
    UNROLL for (int r = 0; r < ROWS; r++) {
        float now = top(peak[r]);
        if (!first) {
            now = now > highest[r] ? now : highest[r];
            float shrink = exp2f(highest[r] - now);
            for (int c = 0; c < LANES; c++) total[r * LANES + c] *= shrink;
            for (int c = 0; c < HEAD; c++) sums[r * HEAD + c] *= shrink;
        }
        highest[r] = now;
    }
}

struct Tokens {  // (B, h, n, HEAD)
    const float *data;
    long batch, head, token;  // strides
    const float *of(long b, long h) const { return data + b * batch + h * head; }
};

struct Blocks {  // of keys: as few as there can be, as many keys for each, in whole vectors
    long keys, size, number, room;
    explicit Blocks(long n) : keys(n) {
        const long fewest = (keys + KEYS - 1) / KEYS;
        size = ((keys + fewest - 1) / fewest + LANES - 1) / LANES * LANES;
        number = (keys + size - 1) / size;
        room = (size + PANEL - 1) / PANEL * PANEL;
    }
    long count(long n) const { return keys - n * size < size ? keys - n * size : size; }
    void pack_rows(const Tokens &x, long b, long h, float *out) const {
        for (long n = 0; n < number; n++)
            pack(x.of(b, h) + n * size * x.token, x.token, count(n), out + n * room * HEAD);
    }
    void copy_rows(const Tokens &x, long b, long h, float *out) const {
        for (long j = 0; j < keys; j++) memcpy(out + j * HEAD, x.of(b, h) + j * x.token, HEAD * sizeof(float));
    }
};

// q (B, h, L, HEAD), k and v (B, h, M, HEAD), bias (B, h, L, M) or null -> out (B, L, h, HEAD) and the natural logarithms
// of the sums of the softmax, (B, h, L). `chunk` queries are a task. Returns whether memory was lacking, as below.
extern "C" int attention_forward(Tokens q, Tokens k, Tokens v, Tokens bias, float *out, float *log_sums, long batch,
                                  long heads, long queries, long keys, float scale, long chunk, int threads) {
    const long chunks = (queries + chunk - 1) / chunk;
    const Blocks blocks(keys);
    int lacks_memory = 0;
#pragma omp parallel num_threads(threads)
    {
        float *packed = floats(blocks.number * blocks.room * HEAD), *values = floats(keys * HEAD);
        float *scores = floats(ROWS * STRIDE);
        float x[ROWS * HEAD], sums[ROWS * HEAD], highest[ROWS], total[ROWS * LANES];
        long held = -1;  // whose keys and values are packed
        // All threads of a team have to come to a loop: where one lacks memory, it has no tasks for any of them.
        if (!packed || !values || !scores) {
#pragma omp atomic write
            lacks_memory = 1;
        }
#pragma omp barrier
        const long tasks = lacks_memory ? 0 : batch * heads * chunks;
#pragma omp for schedule(static)
        for (long task = 0; task < tasks; task++) {
            const long owner = task / chunks, b = owner / heads, h = owner % heads;
            if (owner != held) {
                blocks.pack_rows(k, b, h, packed);
                blocks.copy_rows(v, b, h, values);
                held = owner;
            }
            const auto row_of_out = [=](long t) { return out + ((b * queries + t) * heads + h) * HEAD; };
            const long end = (task % chunks + 1) * chunk < queries ? (task % chunks + 1) * chunk : queries;
            for (long t = task % chunks * chunk; t < end; t += ROWS) {
                const long rows = end - t < ROWS ? end - t : ROWS;
                for (long r = t; r < t + rows; r++) {
                    prefetch(q.of(b, h) + (r + ROWS) * q.token);
                    prefetch<true>(row_of_out(r));
                }
                copy_rows(q.of(b, h) + t * q.token, q.token, rows, scale * LOG2E, x);
                memset(sums, 0, sizeof sums);
                memset(total, 0, sizeof total);
                for (long n = 0; n < blocks.number; n++) {
                    const long from = n * blocks.size, count = blocks.count(n);
                    inner_products(x, packed + n * blocks.room * HEAD, count, scores);
                    if (bias.data) add_bias(bias.of(b, h) + t * bias.token + from, bias.token, rows, count, scores);
                    raise_highest(scores, count, n == 0, highest, total, sums);
                    add_weighted_rows(scores, values + from * HEAD, count, sums, [=, &highest, &total](int r, long j) {
                        vec weight = exp2(load(scores + r * STRIDE + j) - highest[r]);
                        store(scores + r * STRIDE + j, weight);
                        store(total + r * LANES, load(total + r * LANES) + weight);
                    });
                    for (int c = 2 * LANES; c < HEAD; c += 2 * LANES)
                        add_weighted_rows(scores, values + from * HEAD + c, count, sums + c, nothing);
                }
                for (long r = 0; r < rows; r++) {
                    const float all = sum(load(total + r * LANES));
                    log_sums[owner * queries + t + r] = (highest[r] + log2f(all)) * LN2;
                    for (int c = 0; c < HEAD; c += LANES)
                        store(row_of_out(t + r) + c, load(sums + r * HEAD + c) * (1 / all));
                }
            }
        }
        free(packed), free(values), free(scores);
    }
    return lacks_memory;
}

// Gradients from that of the output: of q as (B, L, h, HEAD), of k and v as (B, M, h, HEAD), of the
// bias as (B, h, L, M) unless null. The queries of a head are cut into `parts`, each a task that sums
// its share of the gradients of k and v.
extern "C" int attention_backward(Tokens grad, Tokens q, Tokens k, Tokens v, Tokens bias, Tokens out,
                                   const float *log_sums, float *grad_q, float *grad_k, float *grad_v,
                                   float *grad_bias, long batch, long heads, long queries,
                                   long keys, float scale, long parts, int threads) {
    const long chunk = ((queries + parts - 1) / parts + ROWS - 1) / ROWS * ROWS, size = keys * HEAD;
    const Blocks blocks(keys);
    float *shares = floats(batch * heads * parts * 2 * size);
    int lacks_memory = !shares;
#pragma omp parallel num_threads(threads)
    {
        const long packed = blocks.number * blocks.room * HEAD;
        float *packed_k = floats(packed), *packed_v = floats(packed);
        float *k_rows = floats(size), *weights = floats(ROWS * STRIDE), *grads = floats(ROWS * STRIDE);
        float x[ROWS * HEAD], y[ROWS * HEAD], sums[ROWS * HEAD], log_sum[ROWS], mean[ROWS];
        long held = -1;
        if (!packed_k || !packed_v || !k_rows || !weights || !grads) {
#pragma omp atomic write
            lacks_memory = 1;
        }
#pragma omp barrier
        const long owners = lacks_memory ? 0 : batch * heads, tasks = owners * parts;
#pragma omp for schedule(static)
        for (long task = 0; task < tasks; task++) {
            const long owner = task / parts, b = owner / heads, h = owner % heads;
            if (owner != held) {
                blocks.pack_rows(k, b, h, packed_k);
                blocks.pack_rows(v, b, h, packed_v);
                blocks.copy_rows(k, b, h, k_rows);
                held = owner;
            }
            float *share_k = shares + task * 2 * size, *share_v = share_k + size;
            memset(share_k, 0, 2 * size * sizeof(float));
            const auto row_of_grad_q = [=](long t) { return grad_q + ((b * queries + t) * heads + h) * HEAD; };
            const long end = (task % parts + 1) * chunk < queries ? (task % parts + 1) * chunk : queries;
            for (long t = task % parts * chunk; t < end; t += ROWS) {
                const long rows = end - t < ROWS ? end - t : ROWS;
                for (long r = t; r < t + rows; r++) {
                    prefetch(q.of(b, h) + (r + ROWS) * q.token);
                    prefetch(grad.of(b, h) + (r + ROWS) * grad.token);
                    prefetch(out.of(b, h) + (r + ROWS) * out.token);
                    prefetch<true>(row_of_grad_q(r));
                }
                copy_rows(q.of(b, h) + t * q.token, q.token, rows, scale * LOG2E, x);
                copy_rows(grad.of(b, h) + t * grad.token, grad.token, rows, 1, y);
                copy_rows(out.of(b, h) + t * out.token, out.token, rows, 1, sums);
                for (long r = 0; r < ROWS; r++) {
                    vec s = {};
                    for (int c = 0; c < HEAD; c += LANES) s += load(y + r * HEAD + c) * load(sums + r * HEAD + c);
                    mean[r] = sum(s);
                    log_sum[r] = r < rows ? log_sums[owner * queries + t + r] * LOG2E : 0;
                }
                memset(sums, 0, sizeof sums);
                for (long n = 0; n < blocks.number; n++) {
                    const long from = n * blocks.size, count = blocks.count(n);
                    inner_products(x, packed_k + n * blocks.room * HEAD, count, weights);
                    if (bias.data) add_bias(bias.of(b, h) + t * bias.token + from, bias.token, rows, count, weights);
                    inner_products(y, packed_v + n * blocks.room * HEAD, count, grads);
                    // Infinite keys would make rows behind the last one NaN.
                    memset(weights + rows * STRIDE, 0, (ROWS - rows) * STRIDE * sizeof(float));
                    memset(grads + rows * STRIDE, 0, (ROWS - rows) * STRIDE * sizeof(float));
                    // Scores -> weights of the softmax; gradients of the weights -> gradients of the scores.
                    add_weighted_rows(grads, k_rows + from * HEAD, count, sums, [=, &log_sum, &mean](int r, long j) {
                        if (r >= rows) return;
                        float *at = weights + r * STRIDE + j, *grad = grads + r * STRIDE + j;
                        vec weight = exp2(load(at) - log_sum[r]);
                        store(at, weight);
                        store(grad, weight * (load(grad) - mean[r]));
                    });
                    for (long r = 0; grad_bias && r < rows; r++)
                        memcpy(grad_bias + (owner * queries + t + r) * keys + from, grads + r * STRIDE,
                               count * sizeof(float));
                    for (int c = 0; c < HEAD; c += 2 * LANES) {
                        if (c) add_weighted_rows(grads, k_rows + from * HEAD + c, count, sums + c, nothing);
                        add_outer_products(grads, x + c, count, share_k + from * HEAD + c);
                        add_outer_products(weights, y + c, count, share_v + from * HEAD + c);
                    }
                }
                for (long r = 0; r < rows; r++)
                    for (int c = 0; c < HEAD; c += LANES)
                        store(row_of_grad_q(t + r) + c, load(sums + r * HEAD + c) * scale);
            }
        }
        free(packed_k), free(packed_v), free(k_rows), free(weights), free(grads);
#pragma omp for schedule(static)
        for (long row = 0; row < owners * keys; row++) {
            const long owner = row / keys, b = owner / heads, h = owner % heads, j = row % keys;
            const float *share = shares + owner * parts * 2 * size + j * HEAD;
            for (int c = 0; c < HEAD; c += LANES) {
                vec of_k = {}, of_v = {};
                for (long part = 0; part < parts; part++) {
                    of_k += load(share + part * 2 * size + c);
                    of_v += load(share + part * 2 * size + size + c);
                }
                const long to = ((b * keys + j) * heads + h) * HEAD + c;
                store(grad_k + to, of_k * LN2);  // x has been multiplied by LOG2E
                store(grad_v + to, of_v);
            }
        }
    }
    free(shares);
    return lacks_memory;
}
