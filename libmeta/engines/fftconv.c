/* Overlap-save convolution layers of a 32-channel ResNet in float32: the compiled part of the fft engine.
 *
 * A sequence is rows of 32 floats. A layer with dilation d treats every d-th row as a sequence of its own, cuts each
 * into tiles of N rows that give U = N - k + 1 valid outputs, and multiplies in the frequency domain:
 *
 *   1. Two tiles a, b make one complex sequence a + ib: kernels are real, so the two stay apart all the way through.
 *      A transform of N = R1 * R2 points runs over WIDTH channels at once in two passes of R1 and R2 points, its values
 *      in registers, without bit reversal. Batch norm and activation happen on the way in (first layer of a block).
 *   2. Per frequency, a complex 32 x 32 product of all tiles of a group: three real products instead of four (Gauss).
 *      H(N-f) = conj H(f), so the rows of N-f are kept conjugated and share the matrices of f.
 *   3. The inverse transform is the forward one with real and imaginary parts swapped; 1/N is in the matrices. Bias,
 *      activation or residual addition happen on the way out.
 *
 * This file includes itself once per instruction set; the driver asks best_level() which it may call. Plain C with GCC's
 * vector extensions (GCC, Clang). Every call works in memory that the caller gives, so threads need nothing shared.
 */
#ifndef WIDTH

#include <math.h>
#include <stdint.h>
#include <string.h>

#define CHANNELS 32
#define INLINE static inline __attribute__((always_inline))

/* One layer call; libmeta/engines/fft.py has the same structure. Rows are counted in rows, not floats. */
typedef struct {
    const float *input;    /* (rows, 32) */
    float *output;         /* row r of the result goes to output + 32 r: written (first), added to (second) */
    const float *scale;    /* (32) batch norm before the activation on the way in; NULL: take the input as it is */
    const float *shift;    /* (32) */
    const float *matrices; /* (N / 2 + 1, 3, 32, 32): Hr, -Hr - Hi, Hi - Hr by frequency, input channel, output channel */
    const float *bias;     /* (32) */
    const float *twiddles; /* (N, 2): exp(-2 pi i f1 n2 / N) at f1 * R2 + n2 */
    float *work;           /* layer_floats(N, group) floats, 64-byte aligned */
    int64_t rows;          /* input rows; rows - (kernel - 1) * dilation come out */
    int32_t kernel, dilation, points, group; /* points: N; group: tile pairs multiplied together, a multiple of 12 */
    float slope;           /* negative slope of the activation */
} Layer;

/* Two tiles of one transform: first input row, outputs to keep (0: no such tile). */
typedef struct { int64_t start[2]; int32_t keep[2]; } Pair;

enum { ROW_BLOCK = 12, MAX_POINTS = 256, MAX_GROUP = 96, SCRATCH = ROW_BLOCK * 4 * CHANNELS };

/* A slot is one frequency f and its mirror N - f: 2 * group rows of 32 real and 32 imaginary parts. The extra line keeps
 * slots from falling on the same cache sets. */
static int64_t slot_stride(int group) { return (int64_t)2 * group * 2 * CHANNELS + 16; }

/* Floats of scratch memory of a layer call. */
int64_t layer_floats(int points, int group) {
    return points / 2 * slot_stride(group) + (int64_t)4 * points * CHANNELS + SCRATCH;
}

/* To be raised, here and in fft.py, whenever a structure, a function or the meaning of an argument changes. */
int kernel_version(void) { return 1; }

/* 2: AVX-512, 1: AVX2 with FMA, 0: neither or not an x86. */
int best_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

/* First layer: rows of the table (5, 32) by sequence code. */
void embed(const uint8_t *codes, int64_t rows, const float *table, float *trunk) {
    for (int64_t row = 0; row < rows; row++)
        memcpy(trunk + row * CHANNELS, table + codes[row] * CHANNELS, CHANNELS * sizeof(float));
}

/* Probabilities (rows, 3) from logits (rows, 4). */
void softmax(const float *logits, int64_t rows, float *probabilities) {
    for (int64_t row = 0; row < rows; row++, logits += 4, probabilities += 3) {
        float top = fmaxf(logits[0], fmaxf(logits[1], logits[2])), sum = 0;
        for (int j = 0; j < 3; j++) sum += probabilities[j] = expf(logits[j] - top);
        for (int j = 0; j < 3; j++) probabilities[j] /= sum;
    }
}

/* All tiles of a layer: phase after phase, each cut into tiles of `useful` outputs. */
typedef struct { int64_t outputs, phases, phase, done; int dilation, useful; } Walk;

static int64_t phase_length(const Walk *walk, int64_t phase) {
    return (walk->outputs - phase + walk->dilation - 1) / walk->dilation;
}

static int64_t count_tiles(const Walk *walk) {
    int64_t tiles = 0;
    for (int64_t phase = 0; phase < walk->phases; phase++)
        tiles += (phase_length(walk, phase) + walk->useful - 1) / walk->useful;
    return tiles;
}

static Pair next_pair(Walk *walk) {
    Pair pair = {{0, 0}, {0, 0}};
    for (int which = 0; which < 2 && walk->phase < walk->phases; which++) {
        int64_t left = phase_length(walk, walk->phase) - walk->done;
        pair.start[which] = walk->phase + walk->done * walk->dilation;
        pair.keep[which] = (int32_t)(left < walk->useful ? left : walk->useful);
        walk->done += pair.keep[which];
        if (pair.keep[which] == left) walk->done = 0, walk->phase++;
    }
    return pair;
}

#define JOIN(a, b) a##_##b
#define JOINED(a, b) JOIN(a, b)
#define NAME(a) JOINED(a, LEVEL)

#define LEVEL 0
#define WIDTH 4
#define BLOCK_ROWS 3
#define BLOCK_VECTORS 4
#define TARGET
#include "fftconv.c"
#if defined(__x86_64__)
#define LEVEL 1
#define WIDTH 8
#define BLOCK_ROWS 3
#define BLOCK_VECTORS 4
#define TARGET __attribute__((target("avx2,fma")))
#include "fftconv.c"
#define LEVEL 2
#define WIDTH 16
#define BLOCK_ROWS 12
#define BLOCK_VECTORS 2
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma")))
#include "fftconv.c"
#endif

#else /* the kernel, for one instruction set */

typedef float NAME(vec) __attribute__((vector_size(WIDTH * 4)));
typedef int32_t NAME(ivec) __attribute__((vector_size(WIDTH * 4)));
typedef struct { NAME(vec) re, im; } NAME(cplx);
#define vec NAME(vec)
#define ivec NAME(ivec)
#define cplx NAME(cplx)

TARGET INLINE vec NAME(load)(const float *p) { vec x; memcpy(&x, p, sizeof x); return x; }
TARGET INLINE void NAME(store)(float *p, vec x) { memcpy(p, &x, sizeof x); }
TARGET INLINE vec NAME(fill)(float x) { return x - (vec){0}; }
#define load NAME(load)
#define store NAME(store)
#define fill NAME(fill)

/* max(x, slope x) for slopes in [0, 1] as above x + below |x|: the same on every instruction set. */
typedef struct { vec above, below; } NAME(Act);
#define Act NAME(Act)
TARGET INLINE Act NAME(act_of)(float slope) { return (Act){fill((1 + slope) / 2), fill((1 - slope) / 2)}; }
TARGET INLINE vec NAME(act)(Act a, vec x) { return a.above * x + a.below * (vec)((ivec)x & 0x7fffffff); }
#define act_of NAME(act_of)
#define act NAME(act)

/* ---- transforms in registers, forward sign ---- */

TARGET INLINE cplx NAME(mul)(cplx a, float wr, float wi) {
    return (cplx){a.re * wr - a.im * wi, a.im * wr + a.re * wi};
}
#define mul NAME(mul)

TARGET INLINE void NAME(dft4)(cplx *a, cplx *b, cplx *c, cplx *d) {
    cplx s = {a->re + c->re, a->im + c->im}, t = {a->re - c->re, a->im - c->im};
    cplx u = {b->re + d->re, b->im + d->im}, v = {b->re - d->re, b->im - d->im};
    *a = (cplx){s.re + u.re, s.im + u.im};
    *c = (cplx){s.re - u.re, s.im - u.im};
    *b = (cplx){t.re + v.im, t.im - v.re};
    *d = (cplx){t.re - v.im, t.im + v.re};
}
#define dft4 NAME(dft4)

#define R2 0.70710678118654752f
#define C1 0.92387953251128674f
#define S1 0.38268343236508977f

/* 8 points in place; frequency j + 4 l ends at x[2 j + l]. */
TARGET INLINE void NAME(dft8)(cplx *x) {
    dft4(x, x + 2, x + 4, x + 6);
    dft4(x + 1, x + 3, x + 5, x + 7);
    x[3] = (cplx){(x[3].re + x[3].im) * R2, (x[3].im - x[3].re) * R2};
    x[5] = (cplx){x[5].im, -x[5].re};
    x[7] = (cplx){(x[7].im - x[7].re) * R2, (x[7].re + x[7].im) * -R2};
#pragma GCC unroll 4
    for (int j = 0; j < 8; j += 2) {
        cplx a = x[j], b = x[j + 1];
        x[j] = (cplx){a.re + b.re, a.im + b.im};
        x[j + 1] = (cplx){a.re - b.re, a.im - b.im};
    }
}

/* 16 points in place; frequency j + 4 l ends at x[4 j + l]. */
TARGET INLINE void NAME(dft16)(cplx *x) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) dft4(x + j, x + j + 4, x + j + 8, x + j + 12);
    x[5] = mul(x[5], C1, -S1);
    x[6] = (cplx){(x[6].re + x[6].im) * R2, (x[6].im - x[6].re) * R2};
    x[7] = mul(x[7], S1, -C1);
    x[9] = (cplx){(x[9].re + x[9].im) * R2, (x[9].im - x[9].re) * R2};
    x[10] = (cplx){x[10].im, -x[10].re};
    x[11] = (cplx){(x[11].im - x[11].re) * R2, (x[11].re + x[11].im) * -R2};
    x[13] = mul(x[13], S1, -C1);
    x[14] = (cplx){(x[14].im - x[14].re) * R2, (x[14].re + x[14].im) * -R2};
    x[15] = mul(x[15], -C1, S1);
#pragma GCC unroll 4
    for (int j = 0; j < 16; j += 4) dft4(x + j, x + j + 1, x + j + 2, x + j + 3);
}
#undef R2
#undef C1
#undef S1

TARGET INLINE void NAME(dft)(cplx *x, const int points) {
    if (points == 8) NAME(dft8)(x); else NAME(dft16)(x);
}
#define dft NAME(dft)
/* Where dft leaves frequency f. */
#define PLACE(f, points) (((f) & 3) * ((points) / 4) + ((f) >> 2))

/* A pair of tiles, rows `step` floats apart, into the slots: frequency f of channel c at slots + offsets[f] + c. */
TARGET INLINE void NAME(forward)(const Layer *layer, const float *const tile[2], const int64_t step[2],
                                 float *buffer,
                                 float *slots, const int64_t *offsets, const int r1, const int r2) {
    const float *twiddles = layer->twiddles;
    Act activation = act_of(layer->slope);
    for (int c = 0; c < CHANNELS; c += WIDTH) {
        vec scale = fill(1), shift = fill(0);
        if (layer->scale) scale = load(layer->scale + c), shift = load(layer->shift + c);
        for (int n2 = 0; n2 < r2; n2++) {
            cplx x[16];
            const float *a = tile[0] + n2 * step[0] + c, *b = tile[1] + n2 * step[1] + c;
#pragma GCC unroll 16
            for (int n1 = 0; n1 < r1; n1++)
                x[n1] = (cplx){load(a + n1 * r2 * step[0]), load(b + n1 * r2 * step[1])};
            if (layer->scale) {
#pragma GCC unroll 16
                for (int n1 = 0; n1 < r1; n1++) {
                    x[n1].re = act(activation, scale * x[n1].re + shift);
                    x[n1].im = act(activation, scale * x[n1].im + shift);
                }
            }
            dft(x, r1);
#pragma GCC unroll 16
            for (int f1 = 0; f1 < r1; f1++) {
                int at = f1 * r2 + n2;
                cplx y = x[PLACE(f1, r1)];
                if (f1) y = mul(y, twiddles[2 * at], twiddles[2 * at + 1]);
                store(buffer + at * 2 * WIDTH, y.re);
                store(buffer + at * 2 * WIDTH + WIDTH, y.im);
            }
        }
        for (int f1 = 0; f1 < r1; f1++) {
            cplx x[16];
#pragma GCC unroll 16
            for (int n2 = 0; n2 < r2; n2++) {
                const float *from = buffer + (f1 * r2 + n2) * 2 * WIDTH;
                x[n2] = (cplx){load(from), load(from + WIDTH)};
            }
            dft(x, r2);
#pragma GCC unroll 16
            for (int f2 = 0; f2 < r2; f2++) {
                float *to = slots + offsets[f1 + r1 * f2] + c;
                cplx y = x[PLACE(f2, r2)];
                store(to, y.re);
                store(to + CHANNELS, f2 < r2 / 2 ? y.im : -y.im); /* f >= N / 2 is kept conjugated */
            }
        }
    }
}

/* The way back, and out: the same transform with real and imaginary parts swapped. */
TARGET INLINE void NAME(inverse)(const Layer *layer, const Pair *pair, const float *slots, const int64_t *offsets,
                                 float *buffer, const int r1, const int r2) {
    const float *twiddles = layer->twiddles;
    const int64_t step = (int64_t)layer->dilation * CHANNELS;
    const int residual = !layer->scale;
    Act activation = act_of(layer->slope);
    for (int c = 0; c < CHANNELS; c += WIDTH) {
        vec bias = load(layer->bias + c);
        for (int f1 = 0; f1 < r1; f1++) {
            cplx x[16];
#pragma GCC unroll 16
            for (int f2 = 0; f2 < r2; f2++) {
                const float *from = slots + offsets[f1 + r1 * f2] + c;
                vec im = load(from + CHANNELS);
                x[f2] = (cplx){f2 < r2 / 2 ? im : -im, load(from)};
            }
            dft(x, r2);
#pragma GCC unroll 16
            for (int n2 = 0; n2 < r2; n2++) {
                int at = f1 * r2 + n2;
                cplx y = mul(x[PLACE(n2, r2)], twiddles[2 * at], twiddles[2 * at + 1]);
                store(buffer + at * 2 * WIDTH, y.re);
                store(buffer + at * 2 * WIDTH + WIDTH, y.im);
            }
        }
        for (int n2 = 0; n2 < r2; n2++) {
            cplx x[16];
#pragma GCC unroll 16
            for (int f1 = 0; f1 < r1; f1++) {
                const float *from = buffer + (f1 * r2 + n2) * 2 * WIDTH;
                x[f1] = (cplx){load(from), load(from + WIDTH)};
            }
            dft(x, r1);
            for (int which = 0; which < 2; which++) {
                float *to = layer->output + pair->start[which] * CHANNELS + c;
#pragma GCC unroll 16
                for (int n1 = 0; n1 < r1; n1++) {
                    int n = n1 * r2 + n2;
                    cplx y = x[PLACE(n1, r1)];
                    vec out = (which ? y.re : y.im) + bias;
                    if (n >= pair->keep[which]) continue;
                    if (residual) store(to + n * step, load(to + n * step) + out);
                    else store(to + n * step, act(activation, out));
                }
            }
        }
    }
}

/* out = start + values (BLOCK_ROWS, 32) . matrix (32, 32); the rows of out are `stride` floats apart; start may be NULL.
 * Kept out of line: the sums then stay in registers. */
TARGET static __attribute__((noinline)) void NAME(product)(const float *values, const float *matrix, const float *start,
                                                           float *out, int64_t stride) {
    for (int c = 0; c < CHANNELS; c += BLOCK_VECTORS * WIDTH) {
        vec sum[BLOCK_ROWS][BLOCK_VECTORS] = {{{0}}};
        if (start) {
#pragma GCC unroll 12
            for (int row = 0; row < BLOCK_ROWS; row++)
#pragma GCC unroll 4
                for (int j = 0; j < BLOCK_VECTORS; j++) sum[row][j] = load(start + row * CHANNELS + c + j * WIDTH);
        }
        for (int k = 0; k < CHANNELS; k++) {
            vec weights[BLOCK_VECTORS];
#pragma GCC unroll 4
            for (int j = 0; j < BLOCK_VECTORS; j++) weights[j] = load(matrix + k * CHANNELS + c + j * WIDTH);
#pragma GCC unroll 12
            for (int row = 0; row < BLOCK_ROWS; row++) {
                vec value = fill(values[row * CHANNELS + k]);
#pragma GCC unroll 4
                for (int j = 0; j < BLOCK_VECTORS; j++) sum[row][j] += value * weights[j];
            }
        }
#pragma GCC unroll 12
        for (int row = 0; row < BLOCK_ROWS; row++)
#pragma GCC unroll 4
            for (int j = 0; j < BLOCK_VECTORS; j++) store(out + row * stride + c + j * WIDTH, sum[row][j]);
    }
}

/* BLOCK_ROWS rows times a complex matrix, in place: with P = (Zr + Zi) Hr,
 * Yr = P - Zi (Hr + Hi) and Yi = P + Zr (Hi - Hr). */
TARGET INLINE void NAME(multiply)(float *rows, const float *matrices, float *scratch) {
    enum { SIZE = BLOCK_ROWS * CHANNELS, SQUARE = CHANNELS * CHANNELS };
    float *real = scratch, *imag = real + SIZE, *sum = imag + SIZE, *shared = sum + SIZE;
    for (int row = 0; row < BLOCK_ROWS; row++)
        for (int c = 0; c < CHANNELS; c += WIDTH) {
            vec re = load(rows + row * 2 * CHANNELS + c), im = load(rows + row * 2 * CHANNELS + CHANNELS + c);
            store(real + row * CHANNELS + c, re);
            store(imag + row * CHANNELS + c, im);
            store(sum + row * CHANNELS + c, re + im);
        }
    NAME(product)(sum, matrices, NULL, shared, CHANNELS);
    NAME(product)(imag, matrices + SQUARE, shared, rows, 2 * CHANNELS);
    NAME(product)(real, matrices + 2 * SQUARE, shared, rows + CHANNELS, 2 * CHANNELS);
}

/* Tiles of one group into the slots, zeros in the rows that only fill up a block. */
TARGET INLINE void NAME(gather)(const Layer *layer, const Pair *pairs, int count, int height, float *padded,
                                float *buffer, float *slots, const int64_t *offsets, const int r1, const int r2) {
    const int points = r1 * r2;
    for (int i = 0; i < count; i++) {
        const float *tile[2];
        int64_t step[2];
        for (int which = 0; which < 2; which++) {
            int needed = pairs[i].keep[which] ? pairs[i].keep[which] + layer->kernel - 1 : 0;
            tile[which] = layer->input + pairs[i].start[which] * CHANNELS;
            step[which] = (int64_t)layer->dilation * CHANNELS;
            if (needed == points) continue;
            /* A short tile: what is beyond its end must not be read, nor leave a trace in the rounding. */
            float *copy = padded + which * points * CHANNELS;
            for (int n = 0; n < needed; n++)
                memcpy(copy + n * CHANNELS, tile[which] + n * step[which], CHANNELS * sizeof(float));
            memset(copy + needed * CHANNELS, 0, (points - needed) * CHANNELS * sizeof(float));
            tile[which] = copy;
            step[which] = CHANNELS;
        }
        NAME(forward)(layer, tile, step, buffer, slots + (int64_t)i * 2 * CHANNELS, offsets, r1, r2);
    }
    for (int f = 0; f < points; f++)
        memset(slots + offsets[f] + count * 2 * CHANNELS, 0, (height - count) * 2 * CHANNELS * sizeof(float));
}

TARGET INLINE void NAME(convolve)(const Layer *layer, const int r1, const int r2) {
    const int points = r1 * r2, useful = points - layer->kernel + 1, dilation = layer->dilation;
    const int64_t outputs = layer->rows - (int64_t)(layer->kernel - 1) * dilation;
    float *scratch = layer->work, *padded = scratch + SCRATCH, *buffer = padded + 2 * points * CHANNELS;
    float *slots = buffer + 2 * points * CHANNELS;
    Walk walk = {outputs, outputs < dilation ? outputs : dilation, 0, 0, dilation, useful};
    int64_t pairs = (count_tiles(&walk) + 1) / 2, groups = (pairs + layer->group - 1) / layer->group;
    for (int64_t g = 0; g < groups; g++) {
        Pair tiles[MAX_GROUP];
        int count = (int)(pairs * (g + 1) / groups - pairs * g / groups);
        int height = (count + ROW_BLOCK - 1) / ROW_BLOCK * ROW_BLOCK;
        int64_t stride = slot_stride(height), offsets[MAX_POINTS], mirrored = (int64_t)height * 2 * CHANNELS;
        for (int f = 0; f < points; f++)
            offsets[f] = f < points / 2 ? f * stride : (points - f) % (points / 2) * stride + mirrored;
        for (int i = 0; i < count; i++) tiles[i] = next_pair(&walk);
        NAME(gather)(layer, tiles, count, height, padded, buffer, slots, offsets, r1, r2);
        for (int slot = 0; slot < points / 2; slot++)
            for (int row = 0; row < 2 * height; row += BLOCK_ROWS) {
                /* Slot 0 holds frequency 0 and, as its mirrored half, N / 2. */
                int f = slot == 0 && row >= height ? points / 2 : slot;
                NAME(multiply)(slots + slot * stride + row * 2 * CHANNELS,
                               layer->matrices + (int64_t)f * 3 * CHANNELS * CHANNELS, scratch);
            }
        for (int i = 0; i < count; i++)
            NAME(inverse)(layer, &tiles[i], slots + (int64_t)i * 2 * CHANNELS, offsets, buffer, r1, r2);
    }
}

/* One layer call; points is 64, 128 or 256. */
TARGET void NAME(layer)(const Layer *layer) {
    if (layer->points == 64) NAME(convolve)(layer, 8, 8);
    else if (layer->points == 128) NAME(convolve)(layer, 8, 16);
    else NAME(convolve)(layer, 16, 16);
}

typedef float NAME(four) __attribute__((vector_size(16)));
#define four NAME(four)

/* logits (rows, 4) += trunk (rows, 32) . head (32, 4) */
TARGET void NAME(head)(const float *trunk, int64_t rows, const float *head, float *logits) {
    enum { TOGETHER = 8 };
    for (int64_t row = 0; row < rows; row += TOGETHER) {
        int many = rows - row < TOGETHER ? (int)(rows - row) : TOGETHER;
        four sum[TOGETHER] = {{0}};
        const float *from = trunk + row * CHANNELS;
        if (many == TOGETHER) {
            for (int c = 0; c < CHANNELS; c++) {
                four weights;
                memcpy(&weights, head + 4 * c, sizeof weights);
#pragma GCC unroll 8
                for (int j = 0; j < TOGETHER; j++) sum[j] += from[j * CHANNELS + c] * weights;
            }
        } else {
            for (int j = 0; j < many; j++)
                for (int c = 0; c < CHANNELS; c++)
                    for (int k = 0; k < 4; k++) sum[j][k] += from[j * CHANNELS + c] * head[4 * c + k];
        }
        for (int j = 0; j < many; j++)
            for (int k = 0; k < 4; k++) logits[4 * (row + j) + k] += sum[j][k];
    }
}

#undef four
#undef vec
#undef ivec
#undef cplx
#undef load
#undef store
#undef fill
#undef Act
#undef act_of
#undef act
#undef mul
#undef dft4
#undef dft
#undef PLACE
#undef LEVEL
#undef WIDTH
#undef BLOCK_ROWS
#undef BLOCK_VECTORS
#undef TARGET
#endif
