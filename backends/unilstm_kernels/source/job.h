// What one call computes: one direction of one layer, forward or backward. The C ABI of the kernels.
//
// Arrays are dense and row-major, in the shapes given here, but for x, y and the gradient of y, whose strides are numbers
// of the job: y of both directions lie side by side. An array that is not there is a null pointer. T steps and B rows,
// both at least 1, I inputs, H units, S features of h (P where there is a projection, else H), R rows of z, D heads, RX
// rows that are computed from x: R, and those of a highway's carry and of what lanes attend by; N lanes, C features of c:
// those of the lanes, and of the gates that are seen again; of the sLSTM c, n and m.
#pragma once
#include <stdint.h>

constexpr int64_t kKeptVersion = 6;  // as KEPT_VERSION in job.py

enum Number {
  kSteps, kRows, kInputs, kHidden, kState,
  kHas,                                      // bits, see Has
  kGateKind, kCellKind, kOutputKind,         // see Kind
  kBlocks, kNumLanes, kPooling, kNorm,       // 0 or the blocks, 1 or the lanes; see Pooling, Norm
  kMaskKind,                                 // see MaskKind
  kCell, kHeads, kSlots,                     // see Cell; 1 or the heads, each of which reads its own part of h; C / H
  kReverse,                                  // from the last step of each row to the first
  kStacked,                                  // upon the job before it: x is the y of that. It is not given, nor its gradient
  kStrideT, kStrideB,                        // of x, in elements; its features lie side by side
  kYFrom,                                    // the first of the direction's features in y and its gradient
  kYStrideT, kYStrideB, kDyStrideT, kDyStrideB,  // of y and its gradient
  kDouble,                                   // float64, else float32
  kThreads,                                  // at most so many
  kOpenMp,                                   // those of an OpenMP runtime: of its GOMP_parallel, at this address, or 1: where the process finds one
  kNumbers
};

enum Has {
  kInputGate = 1, kForgetGate = 2, kOutputGate = 4, kCoupled = 8, kPeephole = 16, kHighway = 32, kProjected = 64,
  kSeenAgain = 128, kExponentialForget = 256
};
// The LSTM, the sLSTM, whose c is c, n and m one after the other, and the minLSTM, which reads x alone and has no weights of h.
enum Cell { kLstm, kStabilized, kMinimal };
enum Pooling { kSum, kArgmax, kAttention, kAttentionMax };
enum Norm { kNoNorm, kJoint, kNormalizedState, kPerGate };
// On the h that a step reads [B,S]; on what each row group reads of it [G,B,S]; on g [T,B,N*H].
enum MaskKind { kOnState, kOnGroups, kOnCandidate };

enum Real {
  kGateA, kGateB, kCellA, kCellB, kOutputA, kOutputB, kGateClip, kCellClip, kProjClip, kNormEps,
  kZoneoutHidden, kZoneoutCell,  // what of h and c stays
  kReals
};

// In the order of unilstm.activations.NAMES.
enum Kind {
  kSigmoid, kTanh, kRelu, kAffine, kLeakyRelu, kThresholdedRelu, kScaledTanh, kHardSigmoid, kElu, kSoftsign, kSoftplus
};

enum Array {
  // given: x [T,B,I], h_0 [B,S], c_0 [B,C], the parameters as canonical (weight_hh [R,S/D]); of training: mask, see
  // MaskKind, and what of zoneout is new, h [T,B,S] and c [T,B,N*H]; lengths [B] of int32
  kX, kH0, kC0, kWeightIh, kWeightHh, kBias, kBias2, kWeightCh, kWeightXh, kBiasXh, kWeightHr,
  kGammaIh, kGammaHh, kGamma, kGammaC, kBetaC, kWeightGg, kWeightXa, kBiasXa,
  kMask, kKeepH, kKeepC, kLengths,
  // results: y [T,B,S], h_n [B,S], c_n [B,C], c of every step [T,B,C]
  kY, kHn, kCn, kCells,
  // kept for backward: activations, or pre-activations where the slope needs them, and what norms need (whole.h),
  // [T,B,RX and more]; h before its clip [T,B,S]
  kGates, kRaw,
  // backward: gradients of the results, and of what was given
  kDy, kDhn, kDcn, kDcells,
  kDx, kDh0, kDc0, kDWeightIh, kDWeightHh, kDBias, kDWeightCh, kDWeightXh, kDBiasXh, kDWeightHr,
  kDGammaIh, kDGammaHh, kDGamma, kDGammaC, kDBetaC, kDWeightGg, kDWeightXa, kDBiasXa,
  // a Packed, for calls whose weights are the same each time
  kPacked,
  kArrays
};

// The weights of a direction as the forward call uses them. All 0 at first; the first call fills it. See unilstm_forget.
struct Packed {
  int64_t stamp, bytes;  // for which instruction set and type
  void* memory;
  int64_t calls;  // until now: every other one reads the weights from their end, see team_each
};

struct Job {
  int64_t number[kNumbers];
  double real[kReals];
  void* array[kArrays];
};
