// Depthwise 3-D convolutions in fp32 for CPUs with AVX2 or AVX-512; see depthwise_cpu.py.
//
// A vector holds one position of LANES channels. The input is brought into this form a frame at a
// time, with the zeros around it; as many frames as the kernel is long stay in the second-level
// cache, each sum over the kernel in a register. Results do not depend on the number of threads.

#include "vectors.h"

#include <cstring>

constexpr long FRAMES = 8;  // of the output, which are a task

static vec *vectors(long n) { return (vec *)floats(n * LANES); }
static vec *zeros(long n) {
    vec *x = vectors(n);
    return x ? (vec *)memset(x, 0, n * sizeof(vec)) : x;
}

struct Size {
    long t, h, w;
    long area() const { return h * w; }
};

struct Clips {  // (B, C, T, H, W), contiguous or channels last
    const float *data;
    long batch, channel, frame, position;  // strides
    const float *of(long b, long c) const { return data + b * batch + c * channel; }
};

struct Conv {
    Size in, out, kernel, padding, stride;
    long row() const { return in.w + 2 * padding.w; }
    long frame() const { return (in.h + 2 * padding.h) * row(); }
    long taps() const { return kernel.t * kernel.area(); }
};

struct Tasks {  // FRAMES frames of the output, or what is left of them, of LANES channels of a clip
    long channels, groups, parts, number;
    Tasks(long batch, long channels, const Conv &conv) : channels(channels) {
        groups = (channels + LANES - 1) / LANES;
        parts = (conv.out.t + FRAMES - 1) / FRAMES;
        number = batch * groups * parts;
    }
    long clip(long task) const { return task / parts / groups; }
    long channel(long task) const { return task / parts % groups * LANES; }
    long width(long task) const { return channels - channel(task) < LANES ? channels - channel(task) : LANES; }
    long begin(long task) const { return task % parts * FRAMES; }
    long end(long task, const Conv &conv) const {
        return begin(task) + FRAMES < conv.out.t ? begin(task) + FRAMES : conv.out.t;
    }
};

// A frame of `width` channels at `from` -> one vector for each position, rows `row` apart; zeros in further lanes.
static void pack(const Clips &x, const float *from, long width, Size n, long row, vec *out) {
    if (x.channel == 1) {
        for (long h = 0; h < n.h; h++)
            for (long w = 0; w < n.w; w++, from += x.position) {
                vec y = {};
                if (width == LANES) y = load(from);
                else memcpy(&y, from, width * sizeof(float));
                out[h * row + w] = y;
            }
        return;
    }
    long p = 0, w = 0;
    const auto put = [&](vec y) {
        out[w] = y;
        if (++w == n.w) w = 0, out += row;
    };
    for (; p + LANES <= n.area(); p += LANES) {
        vec y[LANES];
        UNROLL for (int i = 0; i < LANES; i++) y[i] = i < width ? load(from + i * x.channel + p) : vec{};
        transpose(y);
        for (int i = 0; i < LANES; i++) put(y[i]);
    }
    for (; p < n.area(); p++) {
        vec y = {};
        for (long i = 0; i < width; i++) y[i] = from[i * x.channel + p];
        put(y);
    }
}

// One vector for each position -> a frame of `width` channels, contiguous, `channel` apart.
static void unpack(const vec *in, long width, long area, long channel, float *out) {
    long p = 0;
    for (; p + LANES <= area; p += LANES) {
        vec x[LANES];
        UNROLL for (int i = 0; i < LANES; i++) x[i] = in[p + i];
        transpose(x);
        UNROLL for (int i = 0; i < LANES; i++)
            if (i < width) store(out + i * channel + p, x[i]);
    }
    for (; p < area; p++)
        for (long i = 0; i < width; i++) out[i * channel + p] = in[p][i];
}

// The frames of the input that an output frame is made of, with zeros around them.
struct Window {
    const Conv &conv;
    const Clips &x;
    const float *from;  // the first of `width` channels of a clip
    long width;
    vec *frames;  // one for each position of the kernel in time; around the frames zeros already
    long next;    // the first frame that has not been packed
    void move(long begin) {
        if (next < begin) next = begin;
        for (; next < begin + conv.kernel.t; next++) {
            vec *to = at(next);
            if (next < 0 || next >= conv.in.t) memset(to, 0, conv.frame() * sizeof(vec));
            else pack(x, from + next * x.frame, width, conv.in, conv.row(),
                      to + conv.padding.h * conv.row() + conv.padding.w);
        }
    }
    vec *at(long t) const { return frames + (t + conv.kernel.t) % conv.kernel.t * conv.frame(); }
    const vec *row(long t, long h) const { return at(t) + h * conv.row(); }
};

// N positions of a row of the output.
template <int N>
static inline void convolve(const Conv &conv, const vec *const *rows, const vec *kernel, vec bias, long w, vec *out) {
    vec sums[N];
    UNROLL for (int i = 0; i < N; i++) sums[i] = bias;
    for (long r = 0; r < conv.kernel.t * conv.kernel.h; r++) {
        const vec *x = rows[r] + w * conv.stride.w;
        for (long k = 0; k < conv.kernel.w; k++) {
            const vec factor = *kernel++;
            UNROLL for (int i = 0; i < N; i++) sums[i] += x[i * conv.stride.w + k] * factor;
        }
    }
    UNROLL for (int i = 0; i < N; i++) out[w + i] = sums[i];
}

// weights (C, taps), bias (C) or null -> out (B, C, T', H', W'), contiguous. Returns whether memory was lacking.
extern "C" int depthwise_forward(Clips x, const float *weights, const float *bias, float *out, long batch,
                                 long channels, Conv conv, int threads) {
    const Tasks tasks(batch, channels, conv);
    const long area = conv.out.area(), taps = conv.taps();
    int lacks_memory = 0;
#pragma omp parallel num_threads(threads)
    {
        vec *frames = zeros(conv.kernel.t * conv.frame()), *sums = vectors(area), *kernel = vectors(taps);
        const vec **rows = (const vec **)malloc(conv.kernel.t * conv.kernel.h * sizeof(vec *));
        // All threads of a team have to come to a loop.
        if (!frames || !sums || !kernel || !rows) {
#pragma omp atomic write
            lacks_memory = 1;
        }
#pragma omp barrier
        const long number = lacks_memory ? 0 : tasks.number;
#pragma omp for schedule(static)
        for (long task = 0; task < number; task++) {
            const long b = tasks.clip(task), c = tasks.channel(task), width = tasks.width(task);
            vec start = {};
            for (long i = 0; i < LANES; i++) {
                start[i] = bias && i < width ? bias[c + i] : 0;
                for (long k = 0; k < taps; k++) kernel[k][i] = i < width ? weights[(c + i) * taps + k] : 0;
            }
            Window window{conv, x, x.of(b, c), width, frames, tasks.begin(task) * conv.stride.t - conv.padding.t};
            for (long t = tasks.begin(task); t < tasks.end(task, conv); t++) {
                const long begin = t * conv.stride.t - conv.padding.t;
                window.move(begin);
                for (long h = 0; h < conv.out.h; h++) {
                    for (long i = 0; i < conv.kernel.t; i++)
                        for (long j = 0; j < conv.kernel.h; j++)
                            rows[i * conv.kernel.h + j] = window.row(begin + i, h * conv.stride.h + j);
                    vec *to = sums + h * conv.out.w;
                    long w = 0;
                    for (; w + 8 <= conv.out.w; w += 8) convolve<8>(conv, rows, kernel, start, w, to);
                    for (; w + 4 <= conv.out.w; w += 4) convolve<4>(conv, rows, kernel, start, w, to);
                    for (; w < conv.out.w; w++) convolve<1>(conv, rows, kernel, start, w, to);
                }
                unpack(sums, width, area, conv.out.t * area, out + ((b * channels + c) * conv.out.t + t) * area);
            }
        }
        free(frames), free(sums), free(kernel), free(rows);
    }
    return lacks_memory;
}

// sums (K) += products of a row of n gradients with the row of inputs, from each of K positions on.
template <int K> static inline void correlate(const vec *x, const vec *grad, long n, long stride, vec *sums) {
    vec s[3][K] = {};  // of every third product: a sum waits for the one before
    long w = 0;
    for (; w + 3 <= n; w += 3)
        UNROLL for (int i = 0; i < 3; i++)
            UNROLL for (int k = 0; k < K; k++) s[i][k] += x[(w + i) * stride + k] * grad[w + i];
    for (; w < n; w++)
        UNROLL for (int k = 0; k < K; k++) s[0][k] += x[w * stride + k] * grad[w];
    UNROLL for (int k = 0; k < K; k++) sums[k] += s[0][k] + s[1][k] + s[2][k];
}

// Gradient (C, taps) of the weights, from that of the output. Returns whether memory was lacking.
extern "C" int depthwise_weight_gradient(Clips x, Clips grad, float *out, long batch, long channels, Conv conv,
                                         int threads) {
    const Tasks tasks(batch, channels, conv);
    const long taps = conv.taps(), area = conv.out.area();
    vec *shares = vectors(tasks.number * taps);
    int lacks_memory = !shares;
#pragma omp parallel num_threads(threads)
    {
        vec *frames = zeros(conv.kernel.t * conv.frame()), *of_output = vectors(area);
        if (!frames || !of_output) {
#pragma omp atomic write
            lacks_memory = 1;
        }
#pragma omp barrier
        const long number = lacks_memory ? 0 : tasks.number;
#pragma omp for schedule(static)
        for (long task = 0; task < number; task++) {
            const long b = tasks.clip(task), c = tasks.channel(task), width = tasks.width(task);
            vec *sums = shares + task * taps;
            memset(sums, 0, taps * sizeof(vec));
            Window window{conv, x, x.of(b, c), width, frames, tasks.begin(task) * conv.stride.t - conv.padding.t};
            for (long t = tasks.begin(task); t < tasks.end(task, conv); t++) {
                const long begin = t * conv.stride.t - conv.padding.t;
                window.move(begin);
                pack(grad, grad.of(b, c) + t * grad.frame, width, conv.out, conv.out.w, of_output);
                for (long h = 0; h < conv.out.h; h++)
                    for (long i = 0; i < conv.kernel.t; i++)
                        for (long j = 0; j < conv.kernel.h; j++) {
                            const vec *row = window.row(begin + i, h * conv.stride.h + j);
                            const vec *g = of_output + h * conv.out.w;
                            vec *to = sums + (i * conv.kernel.h + j) * conv.kernel.w;
                            long k = 0;
                            for (; k + 3 <= conv.kernel.w; k += 3)
                                correlate<3>(row + k, g, conv.out.w, conv.stride.w, to + k);
                            for (; k < conv.kernel.w; k++)
                                correlate<1>(row + k, g, conv.out.w, conv.stride.w, to + k);
                        }
            }
        }
        free(frames), free(of_output);
#pragma omp for schedule(static)
        for (long c = 0; c < (lacks_memory ? 0 : channels); c++)
            for (long k = 0; k < taps; k++) {
                float sum = 0;
                for (long b = 0; b < batch; b++)
                    for (long part = 0; part < tasks.parts; part++) {
                        const long task = (b * tasks.groups + c / LANES) * tasks.parts + part;
                        sum += shares[task * taps + k][c % LANES];
                    }
                out[c * taps + k] = sum;
            }
    }
    free(shares);
    return lacks_memory;
}
