// How the work of a call is shared. Included once for each instruction set.
//
// Rows do not depend on each other: where there are enough of them, and the weights fit into a
// cache, every job takes some rows through all of time, and no thread waits for another. Else the
// threads share the panels of every step.

constexpr int64_t kRowsOfJob = 48;
constexpr int64_t kLeastRows = 6;
#ifdef RNNJAX_SMALL  // tests share even the smallest work
constexpr int64_t kCachedWeights = 4096, kSmallCall = 0, kSmallStep = 0;
#else
constexpr int64_t kCachedWeights = 128 * 1024;  // numbers: what a core can stream again and again
constexpr int64_t kSmallCall = 1 << 21;         // multiplications; below, waking a thread costs more
constexpr int64_t kSmallStep = 1 << 17;         // of a step whose panels are to be shared
#endif

// Loop is ForwardLoop or BackwardLoop, `make(network, first, stride)` builds one.
template <class Loop, class Make>
class RowJobs final : public Work {
 public:
  RowJobs(const Size& size, int64_t visits, int64_t jobs, Make make)
      : size_(size), visits_(visits), jobs_(jobs), make_(make) {}

  void run(int64_t, int64_t item, int) override {
    Loop loop = make_(item / jobs_, item % jobs_, jobs_);
    const int64_t panels = Loop::count_panels(size_);
    for (int64_t visit = 0; visit < visits_; ++visit) {
      for (int phase = 0; phase < Loop::phases(size_.cell); ++phase) {
        for (int64_t panel = 0; panel < panels; ++panel) loop.item(visit, phase, panel);
      }
    }
  }

 private:
  const Size size_;
  const int64_t visits_, jobs_;
  const Make make_;
};

template <class Loop, class Make>
class PanelJobs final : public Work {
 public:
  PanelJobs(const Size& size, int64_t networks, int threads, Make make)
      : size_(size), panels_(Loop::count_panels(size)) {
    for (int thread = 0; thread < threads; ++thread) {
      loops_.emplace_back();
      for (int64_t n = 0; n < networks; ++n) loops_.back().push_back(make(n, 0, 1));
    }
  }

  void run(int64_t phase, int64_t item, int thread) override {
    const int phases = Loop::phases(size_.cell);
    loops_[thread][item / panels_].item(phase / phases, phase % phases, item % panels_);
  }

 private:
  const Size size_;
  const int64_t panels_;
  std::vector<std::vector<Loop>> loops_;  // of each thread, of each network
};

template <class Loop, class Make>
static void share(const Size& size, int64_t networks, int64_t visits, Pool& pool, Make make) {
  const int64_t weights = size.hidden * size.hidden * gates(size.cell);
  const int64_t step = networks * size.rows * weights;
  int threads = pool.threads() > 1 ? pool.threads() : 1;  // XLA without a pool says 0
  if (step * size.steps < kSmallCall) threads = 1;
  const int64_t enough = (threads + networks - 1) / networks;  // jobs a network
  int64_t jobs = (size.rows + kRowsOfJob - 1) / kRowsOfJob;
  if (jobs < enough) jobs = enough;
  if (jobs * networks % threads) jobs = (jobs + threads - 1) / threads * threads;
  const bool by_rows = threads == 1 || step < kSmallStep ||
                       (weights <= kCachedWeights && size.rows >= jobs * kLeastRows);
  if (by_rows) {
    if (size.rows < jobs) jobs = size.rows ? size.rows : 1;
    RowJobs<Loop, Make> work(size, visits, jobs, make);
    Team::run(work, 1, networks * jobs, threads, pool);
  } else {
    PanelJobs<Loop, Make> work(size, networks, threads, make);
    Team::run(work, visits * Loop::phases(size.cell), networks * Loop::count_panels(size), threads, pool);
  }
}

static void copy(float* to, const float* from, int64_t count) {
  if (to && from && count) __builtin_memmove(to, from, count * sizeof(float));
}

static void forward(const Size& size, const std::vector<Forward>& nets, Pool& pool) {
  const int64_t count = size.rows * size.hidden;
  const int64_t beside = ForwardLoop::scratch_numbers(size);
  std::vector<float> scratch(nets[0].columns ? 0 : beside * nets.size());
  for (const Forward& net : nets) copy(net.final.c, net.begin.c, count);
  share<ForwardLoop>(size, nets.size(), size.steps, pool, [&](int64_t n, int64_t first, int64_t stride) {
    return ForwardLoop(size, nets[n], scratch.empty() ? nullptr : scratch.data() + n * beside, first, stride);
  });
  for (const Forward& net : nets) {
    copy(net.final.h, net.begin.h, count);
    Walk walk(size, net.mask, 0, 1);
    walk.go(size.steps);
    for (size_t i = 0; i < walk.rows().size(); ++i) {
      const int64_t row = walk.rows()[i];
      copy(net.final.h + row * size.hidden,
           net.outputs + (walk.before()[i] * size.rows + row) * size.hidden, size.hidden);
    }
  }
}

static void backward(const Size& size, const std::vector<Backward>& nets, Pool& pool) {
  const int64_t count = size.rows * size.hidden;
  for (const Backward& net : nets) {
    copy(net.dbegin.h, net.dfinal.h, count);
    copy(net.dbegin.c, net.dfinal.c, count);
    for (float* fresh : {net.dfresh.h, net.dfresh.c}) {
      if (fresh) __builtin_memset(fresh, 0, count * sizeof(float));
    }
  }
  share<BackwardLoop>(size, nets.size(), size.steps + 1, pool, [&](int64_t n, int64_t first, int64_t stride) {
    return BackwardLoop(size, nets[n], first, stride);
  });
}

static void activations(int64_t count, const float* x, float* s, float* t) {
  const FlushDenormals flush;
  for (int64_t i = 0; i < count; i += LANES) {
    const F v = load(x + i, count - i);
    store(s + i, sigmoid(v), count - i);
    store(t + i, tanh(v), count - i);
  }
}
