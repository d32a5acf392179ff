// What one call computes: one direction of one layer, forward or backward. The C ABI of the kernels.
//
// Arrays are dense and row-major, in the shapes given here, but for x, whose strides are numbers of the job. An
// array that is not there is a null pointer. T steps, B rows, I inputs, H units, S features of h (P where there is a
// projection, else H), G row groups of z, GX groups that are computed from x: G, and one more for a highway's carry.
#pragma once
#include <stdint.h>

enum Number {
  kSteps, kRows, kInputs, kHidden, kState,
  kHas,                                      // bits, see Has
  kGateKind, kCellKind, kOutputKind,         // see Kind
  kReverse,                                  // from the last step of each row to the first
  kStrideT, kStrideB,                        // of x, in elements; its features lie side by side
  kDouble,                                   // float64, else float32
  kThreads, kOpenMp,                         // at most so many; those of an OpenMP runtime that the process has?
  kNumbers
};

enum Has { kInputGate = 1, kForgetGate = 2, kOutputGate = 4, kCoupled = 8, kPeephole = 16, kHighway = 32, kProjected = 64 };

enum Real { kGateA, kGateB, kCellA, kCellB, kOutputA, kOutputB, kGateClip, kCellClip, kProjClip, kReals };

// In the order of unilstm.activations.NAMES.
enum Kind {
  kSigmoid, kTanh, kRelu, kAffine, kLeakyRelu, kThresholdedRelu, kScaledTanh, kHardSigmoid, kElu, kSoftsign, kSoftplus
};

enum Array {
  // given: x [T,B,I], h_0 [B,S], c_0 [B,H], the parameters as canonical, mask [B,S] on the h that a step reads,
  // lengths [B] of int32
  kX, kH0, kC0, kWeightIh, kWeightHh, kBias, kBias2, kWeightCh, kWeightXh, kBiasXh, kWeightHr, kMask, kLengths,
  // results: y [T,B,S], h_n [B,S], c_n [B,H], c of every step [T,B,H]
  kY, kHn, kCn, kCells,
  // kept for backward: activations, or pre-activations where the slope needs them, [T,B,GX*H]; h before its clip [T,B,S]
  kGates, kRaw,
  // backward: gradients of the results, and of what was given
  kDy, kDhn, kDcn, kDcells,
  kDx, kDh0, kDc0, kDWeightIh, kDWeightHh, kDBias, kDWeightCh, kDWeightXh, kDBiasXh, kDWeightHr,
  kArrays
};

struct Job {
  int64_t number[kNumbers];
  double real[kReals];
  void* array[kArrays];
};
