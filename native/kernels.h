#ifndef RNNJAX_KERNELS_H_
#define RNNJAX_KERNELS_H_

#include "problem.h"

namespace rnnjax {

// The kernels of a name that this processor can run, or the best for null; null if there are none.
const Kernels* find(const char* name);

}  // namespace rnnjax

#endif  // RNNJAX_KERNELS_H_
