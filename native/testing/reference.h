// The loops in double precision, plainly. Part of test.cc.
#ifndef RNNJAX_TESTING_REFERENCE_H_
#define RNNJAX_TESTING_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <vector>

#include "cases.h"

namespace rnnjax {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double at(const Floats& array, int64_t place) { return array.empty() ? 0 : array[place]; }

Doubles some(const Floats& array, int64_t place, int64_t count) {
  if (array.empty()) return Doubles(count);
  return Doubles(array.begin() + place * count, array.begin() + (place + 1) * count);
}

// out[k] += sum of a[u] * w[u][k], for k from `begin` to `end`.
void add_product(const Doubles& a, const Floats& w, int64_t width, int64_t begin, int64_t end,
                 Doubles* out) {
  for (size_t u = 0; u < a.size(); ++u) {
    for (int64_t k = begin; k < end; ++k) (*out)[k] += a[u] * w[u * width + k];
  }
}

// out[u] += sum of d[k] * w[u][begin + k].
void add_transposed(const Doubles& d, const Floats& w, int64_t width, int64_t begin, int64_t end,
                    Doubles* out) {
  for (size_t u = 0; u < out->size(); ++u) {
    for (int64_t k = begin; k < end; ++k) (*out)[u] += d[k - begin] * w[u * width + k];
  }
}

// A row's state; `columns` and `extra` are what its last step has kept.
struct Row {
  Doubles h, c, columns, extra;
};

void lstm_step(const Doubles& s, int64_t hidden, Row* row) {
  for (int64_t u = 0; u < hidden; ++u) {
    const double i = sigmoid(s[u]), f = sigmoid(s[hidden + u]), g = std::tanh(s[2 * hidden + u]),
                 o = sigmoid(s[3 * hidden + u]);
    row->c[u] = f * row->c[u] + i * g;
    row->h[u] = o * std::tanh(row->c[u]);
    const double kept[] = {i, f, g, o};
    for (int gate = 0; gate < 4; ++gate) row->columns[gate * hidden + u] = kept[gate];
  }
}

// `s` without the candidate's product.
void gru_step(const Size& size, const Network& net, const Doubles& s, Row* row) {
  const int64_t h = size.hidden;
  Doubles passed = row->h, product(3 * h);
  for (int64_t u = 0; u < 2 * h; ++u) row->columns[u] = sigmoid(s[u]);
  if (size.cell == kGRUBefore) {
    for (int64_t u = 0; u < h; ++u) passed[u] *= row->columns[u];
  }
  add_product(passed, net.w_hh, 3 * h, 2 * h, 3 * h, &product);
  for (int64_t u = 0; u < h; ++u) {
    double p = product[2 * h + u];
    row->extra[u] = passed[u];
    if (size.cell == kGRUAfter) {
      row->extra[u] = p + at(net.candidate_bias, u);
      p = row->columns[u] * row->extra[u];
    }
    const double z = row->columns[h + u], n = std::tanh(s[2 * h + u] + p);
    row->columns[2 * h + u] = n;
    row->h[u] = (1 - z) * n + z * row->h[u];
  }
}

void step(const Case& c, const Network& net, const Doubles& inputs, Row* row) {
  const int64_t h = c.size.hidden, width = c.width();
  Doubles s = some(net.bias, 0, width);
  add_product(inputs, net.w_ih, width, 0, width, &s);
  add_product(row->h, net.w_hh, width, 0, has_extra(c.size.cell) ? 2 * h : width, &s);
  if (c.size.cell == kLSTM) return lstm_step(s, h, row);
  if (has_extra(c.size.cell)) return gru_step(c.size, net, s, row);
  for (int64_t u = 0; u < h; ++u) {
    row->columns[u] = s[u];
    row->h[u] = c.size.cell == kTanh ? std::tanh(s[u]) : std::max(s[u], 0.0);
  }
}

void put(const Doubles& values, int64_t place, Doubles* array) {
  std::copy(values.begin(), values.end(), array->begin() + place * values.size());
}

ForwardWant reference_forward(const Case& c, const Network& net) {
  const Size& size = c.size;
  const int64_t h = size.hidden, count = size.rows * h, all = size.steps * count;
  ForwardWant want{Doubles(all), Doubles(count), Doubles(count), Doubles(gates(size.cell) * all),
                   Doubles(all), Doubles(all),   Doubles(all), Origins(size.steps * size.rows, kBegun)};
  for (int64_t b = 0; b < size.rows; ++b) {
    Row row{some(net.begin_h, b, h), some(net.begin_c, b, h), Doubles(c.width()), Doubles(h)};
    int32_t origin = kBegun;
    for (int64_t visit = 0; visit < size.steps; ++visit) {
      const int64_t place = net.step(size, visit) * size.rows + b;
      if (!net.valid(place)) continue;
      if (net.restart(place)) {
        row.h = some(net.fresh_h, b, h);
        row.c = some(net.fresh_c, b, h);
        origin = kRestarted;
      }
      want.origins[place] = origin;
      origin = static_cast<int32_t>(net.step(size, visit));
      put(row.h, place, &want.start_h);
      put(row.c, place, &want.start_c);
      step(c, net, some(net.inputs, place, size.inputs), &row);
      put(row.h, place, &want.outputs);
      put(row.columns, place, &want.columns);
      put(row.extra, place, &want.extra);
    }
    put(row.h, b, &want.final_h);
    put(row.c, b, &want.final_c);
  }
  return want;
}

void keep_rounded(const Case& c, const ForwardWant& want, Network* net) {
  net->columns = Floats(want.columns.begin(), want.columns.end());
  net->outputs = Floats(want.outputs.begin(), want.outputs.end());
  net->origins = want.origins;
  net->start_h = Floats(want.start_h.begin(), want.start_h.end());
  if (has_c(c.size.cell)) net->start_c = Floats(want.start_c.begin(), want.start_c.end());
  if (has_extra(c.size.cell)) net->extra = Floats(want.extra.begin(), want.extra.end());
}

// --- The reference, backwards.

// A row's cotangents; `deltas` and `extra` are those of its last step.
struct Cotangents {
  Doubles h, c, deltas, extra;
};

void lstm_back(const Network& net, int64_t hidden, int64_t place, Cotangents* d) {
  const Doubles kept = some(net.columns, place, 4 * hidden), old = some(net.start_c, place, hidden);
  for (int64_t u = 0; u < hidden; ++u) {
    const double i = kept[u], f = kept[hidden + u], g = kept[2 * hidden + u], o = kept[3 * hidden + u];
    const double tanh_c = std::tanh(f * old[u] + i * g);
    const double dc = d->c[u] + d->h[u] * o * (1 - tanh_c * tanh_c);
    d->deltas[u] = dc * g * i * (1 - i);
    d->deltas[hidden + u] = dc * old[u] * f * (1 - f);
    d->deltas[2 * hidden + u] = dc * i * (1 - g * g);
    d->deltas[3 * hidden + u] = d->h[u] * tanh_c * o * (1 - o);
    d->c[u] = dc * f;
    d->h[u] = 0;
  }
  add_transposed(d->deltas, net.w_hh, 4 * hidden, 0, 4 * hidden, &d->h);
}

void gru_back(const Size& size, const Network& net, int64_t place, Cotangents* d) {
  const int64_t h = size.hidden;
  const Doubles kept = some(net.columns, place, 3 * h), old = some(net.start_h, place, h),
                product = some(net.extra, place, h);
  for (int64_t u = 0; u < h; ++u) {
    const double r = kept[u], z = kept[h + u], n = kept[2 * h + u], dn = d->h[u] * (1 - z) * (1 - n * n);
    d->deltas[u] = dn * product[u] * r * (1 - r);
    d->deltas[h + u] = d->h[u] * (old[u] - n) * z * (1 - z);
    d->deltas[2 * h + u] = dn;
    d->extra[u] = size.cell == kGRUAfter ? dn * r : dn;
    d->h[u] *= z;
  }
  Doubles passed(h);
  add_transposed(d->extra, net.w_hh, 3 * h, 2 * h, 3 * h, &passed);
  for (int64_t u = 0; u < h; ++u) {
    if (size.cell == kGRUBefore) {
      const double r = kept[u];
      d->deltas[u] = passed[u] * old[u] * r * (1 - r);
      passed[u] *= r;
    }
    d->h[u] += passed[u];
  }
  add_transposed(d->deltas, net.w_hh, 3 * h, 0, 2 * h, &d->h);
}

void step_back(const Case& c, const Network& net, int64_t place, Cotangents* d) {
  const int64_t h = c.size.hidden;
  if (c.size.cell == kLSTM) return lstm_back(net, h, place, d);
  if (has_extra(c.size.cell)) return gru_back(c.size, net, place, d);
  for (int64_t u = 0; u < h; ++u) {
    const double s = net.columns[place * h + u], y = std::tanh(s);
    d->deltas[u] = c.size.cell == kTanh ? d->h[u] * (1 - y * y) : s > 0 ? d->h[u] : 0;
    d->h[u] = 0;
  }
  add_transposed(d->deltas, net.w_hh, h, 0, h, &d->h);
}

void move_to(Doubles* from, int64_t place, Doubles* sums) {
  for (size_t u = 0; u < from->size(); ++u) {
    (*sums)[place * from->size() + u] += (*from)[u];
    (*from)[u] = 0;
  }
}

BackwardWant reference_backward(const Case& c, const Network& net) {
  const Size& size = c.size;
  const int64_t h = size.hidden, count = size.rows * h, all = size.steps * count;
  BackwardWant want{Doubles(gates(size.cell) * all), Doubles(all), Doubles(count), Doubles(count),
                    Doubles(count), Doubles(count)};
  for (int64_t b = 0; b < size.rows; ++b) {
    Cotangents d{some(net.dfinal_h, b, h), some(net.dfinal_c, b, h), Doubles(c.width()), Doubles(h)};
    for (int64_t visit = size.steps - 1; visit >= 0; --visit) {
      const int64_t place = net.step(size, visit) * size.rows + b;
      if (!net.valid(place)) continue;
      for (int64_t u = 0; u < h; ++u) d.h[u] += net.doutputs[place * h + u];
      step_back(c, net, place, &d);
      put(d.deltas, place, &want.deltas);
      put(d.extra, place, &want.extra_deltas);
      if (net.restart(place)) {
        move_to(&d.h, b, &want.dfresh_h);
        move_to(&d.c, b, &want.dfresh_c);
      }
    }
    put(d.h, b, &want.dbegin_h);
    put(d.c, b, &want.dbegin_c);
  }
  return want;
}

void keep_deltas(const Case& c, const BackwardWant& want, Network* net) {
  net->deltas = Floats(want.deltas.begin(), want.deltas.end());
  if (c.size.cell == kGRUBefore) net->candidate = net->extra;
  if (c.size.cell == kGRUAfter) net->candidate = Floats(want.extra_deltas.begin(), want.extra_deltas.end());
}

// out[u][begin + k] += a[u] * d[k].
void add_outer(const Doubles& a, const Doubles& d, int64_t width, int64_t begin, Doubles* out) {
  for (size_t u = 0; u < a.size(); ++u) {
    for (size_t k = 0; k < d.size(); ++k) (*out)[u * width + begin + k] += a[u] * d[k];
  }
}

void add_to(const Doubles& values, Doubles* sums) {
  for (size_t i = 0; i < values.size(); ++i) (*sums)[i] += values[i];
}

GradientsWant reference_gradients(const Case& c, const Network& net) {
  const int32_t cell = c.size.cell;
  const int64_t h = c.size.hidden, width = c.width(), main = has_extra(cell) ? 2 * h : width;
  GradientsWant want{Doubles(c.size.inputs * width), Doubles(h * width), Doubles(width), Doubles(h)};
  for (int64_t place = 0; place < c.size.steps * c.size.rows; ++place) {
    if (!net.valid(place)) continue;
    const Doubles deltas = some(net.deltas, place, width), start = some(net.start_h, place, h),
                  candidate = some(net.candidate, place, h);
    add_outer(some(net.inputs, place, c.size.inputs), deltas, width, 0, &want.dw_ih);
    add_outer(start, Doubles(deltas.begin(), deltas.begin() + main), width, 0, &want.dw_hh);
    const Doubles last(deltas.begin() + main, deltas.end());
    if (cell == kGRUAfter) add_outer(start, candidate, width, main, &want.dw_hh);
    if (cell == kGRUBefore) add_outer(candidate, last, width, main, &want.dw_hh);
    add_to(deltas, &want.dbias);
    add_to(candidate, &want.dcandidate_bias);
  }
  return want;
}

// The sum whose derivatives the way back gives.
double loss(const Case& c, const Network& net) {
  const ForwardWant want = reference_forward(c, net);
  double sum = 0;
  for (size_t i = 0; i < want.outputs.size(); ++i) {
    if (net.valid(i / c.size.hidden)) sum += want.outputs[i] * net.doutputs[i];
  }
  for (size_t i = 0; i < want.final_h.size(); ++i) {
    sum += want.final_h[i] * net.dfinal_h[i] + want.final_c[i] * at(net.dfinal_c, i);
  }
  return sum;
}

void check_slopes(const Case& c, Network& net, const char* what, Floats Network::*input,
                  const Doubles& want) {
  Floats& values = net.*input;
  for (size_t i = 0; i < values.size(); ++i) {
    const float before = values[i], around = 1.0f / 1024;
    values[i] = before + around;
    const float above = values[i];
    const double high = loss(c, net);
    values[i] = before - around;
    const double low = loss(c, net), slope = (high - low) / (static_cast<double>(above) - values[i]);
    values[i] = before;
    if (std::isnan(before)) continue;
    CHECK(std::fabs(slope - want[i]) < 1e-5, "%s: %s[%zu]: %g, wanted %g", c.text().c_str(), what, i,
          want[i], slope);
  }
}

Doubles input_slopes(const Case& c, const Network& net, const Doubles& deltas) {
  Doubles out;
  for (auto d = deltas.begin(); d != deltas.end(); d += c.width()) {
    Doubles slopes(c.size.inputs);
    add_transposed(Doubles(d, d + c.width()), net.w_ih, c.width(), 0, c.width(), &slopes);
    out.insert(out.end(), slopes.begin(), slopes.end());
  }
  return out;
}

}  // namespace
}  // namespace rnnjax

#endif  // RNNJAX_TESTING_REFERENCE_H_
