// How the work of a call is shared. Included once for each instruction set.
//
// Rows do not depend on each other: where there are enough of them, or of networks, and the weights
// fit into a cache, every job takes some rows through time. Else the threads share the panels of
// every step.

constexpr int64_t kRowsOfJob = 48;
constexpr int64_t kLeastRows = 6;
constexpr int64_t kStretches = 16;  // of time; after each the rows are shared anew
#ifdef RNNJAX_SMALL  // tests share even the smallest work
constexpr int64_t kCachedWeights = 4096, kSmallCall = 0, kSmallStep = 0, kSmallProducts = 0;
#else
constexpr int64_t kCachedWeights = 128 * 1024;  // numbers: what a core can stream again and again
constexpr int64_t kSmallCall = 1 << 21;         // multiplications; below, waking a thread costs more
constexpr int64_t kSmallStep = 1 << 17;         // of a step whose panels are to be shared
constexpr int64_t kSmallProducts = 1 << 22;     // as kSmallCall, of gradients
#endif

// Loop is ForwardLoop or BackwardLoop, Net what it runs. First of all come the weights: they are
// packed, a panel an item.
template <class Loop, class Net>
class Jobs : public Work {
 public:
  Jobs(const Size& size, const std::vector<Net>& nets)
      : size_(size), nets_(nets), panels_(Loop::count_panels(size)), chunk_(Loop::chunk(size, nets[0])) {
    for (const Net& net : nets) chunk_ = std::min(chunk_, Loop::chunk(size, net));
  }

 protected:
  void pack(int64_t item) const {
    if (item < panels_ * count()) Loop::pack(size_, nets_[item / panels_], item % panels_);
  }
  int64_t count() const { return nets_.size(); }

  const Size size_;
  const std::vector<Net>& nets_;
  const int64_t panels_;
  int64_t chunk_;
};

// Time is cut into stretches, and threads meet after each: one that wakes late finds work at once.
template <class Loop, class Net>
class RowJobs final : public Jobs<Loop, Net> {
 public:
  RowJobs(const Size& size, const std::vector<Net>& nets, int64_t visits, int64_t jobs, int threads)
      : Jobs<Loop, Net>(size, nets), visits_(visits) {
    const int64_t stretches = threads == 1 ? 1 : kStretches;
    stretch_ = (visits + stretches - 1) / stretches;
    for (const Net& net : nets) {
      for (int64_t job = 0, skipped = 0; job < jobs; ++job) {
        loops_.emplace_back(size, net, this->chunk_, job, jobs, skipped);
        skipped += rows_from(size, job, jobs);
      }
    }
  }

  int64_t items() const { return std::max<int64_t>(this->panels_ * this->count(), loops_.size()); }
  int64_t phases() const { return 1 + (visits_ + stretch_ - 1) / stretch_; }

  void run(int64_t phase, int64_t item, int) override {
    if (phase == 0) return this->pack(item);
    if (item >= static_cast<int64_t>(loops_.size())) return;
    Loop& loop = loops_[item];
    const int64_t begin = (phase - 1) * stretch_, end = std::min(begin + stretch_, visits_);
    for (int64_t visit = begin; visit < end; ++visit) {
      if (visit % this->chunk_ == 0) {
        for (int64_t panel = 0; panel < this->panels_; ++panel) loop.project(visit, panel);
      }
      for (int part = 0; part < Loop::phases(this->size_.cell); ++part) {
        loop.run(visit, part, Panels{0, this->panels_});
      }
    }
  }

 private:
  const int64_t visits_;
  int64_t stretch_;
  std::vector<Loop> loops_;  // of each network, of each of its jobs
};

template <class Loop, class Net>
class PanelJobs final : public Jobs<Loop, Net> {
 public:
  PanelJobs(const Size& size, const std::vector<Net>& nets, int64_t visits, int threads)
      : Jobs<Loop, Net>(size, nets), visits_(visits), parts_(Loop::phases(size.cell)) {
    for (int thread = 0; thread < threads; ++thread) {
      loops_.emplace_back();
      for (const Net& net : nets) loops_.back().emplace_back(size, net, this->chunk_, 0, 1, 0);
    }
  }

  int64_t items() const { return this->panels_ * this->count(); }
  int64_t phases() const {
    const int64_t chunks = (visits_ + this->chunk_ - 1) / this->chunk_;
    return 1 + kLead * (chunks - 1) + visits_ * parts_;
  }

  void run(int64_t phase, int64_t item, int thread) override {
    Loop& loop = loops_[thread][item / this->panels_];
    const int64_t panel = item % this->panels_;
    if (phase == 0) {
      this->pack(item);
      return loop.project(0, panel);  // with the first chunk, while its weights are in the cache
    }
    const int64_t of_chunk = kLead + this->chunk_ * parts_, all = kLead + phase - 1;
    const int64_t first = all / of_chunk * this->chunk_, rest = all % of_chunk - kLead;
    if (rest < 0) return loop.project(first, panel);
    loop.run(first + rest / parts_, rest % parts_, Panels{panel, 1});
  }

 private:
  static constexpr int64_t kLead = Loop::kProjects ? 1 : 0;  // phases of a chunk before its steps

  const int64_t visits_, parts_;
  std::vector<std::vector<Loop>> loops_;  // of each thread, of each network
};

template <class Loop, class Net>
static void share(const Size& size, const std::vector<Net>& nets, int64_t visits, Pool& pool) {
  const int64_t networks = nets.size();
  const int64_t weights = size.hidden * size.hidden * gates(size.cell);
  const int64_t step = networks * size.rows * weights;
  int threads = pool.threads() > 1 ? pool.threads() : 1;  // XLA without a pool says 0
  if (step * size.steps < kSmallCall) threads = 1;
  const int64_t enough = (threads + networks - 1) / networks;  // jobs a network
  int64_t jobs = (size.rows + kRowsOfJob - 1) / kRowsOfJob;
  if (jobs < enough) jobs = enough;
  if (jobs * networks % threads) jobs = (jobs + threads - 1) / threads * threads;
  // Jobs of rows would pack for each of them what is packed in passing.
  const bool passing = Loop::kProjects && packs_in_passing(size);
  const bool by_rows = !passing && (threads == 1 || step < kSmallStep ||
                                    (weights <= kCachedWeights && (jobs == 1 || size.rows >= jobs * kLeastRows)));
  if (by_rows) {
    RowJobs<Loop, Net> work(size, nets, visits, std::min(jobs, size.rows), threads);
    Team::run(work, work.phases(), work.items(), threads, pool);
  } else {
    PanelJobs<Loop, Net> work(size, nets, visits, threads);
    Team::run(work, work.phases(), work.items(), threads, pool);
  }
}

static void copy(float* to, const float* from, int64_t count) {
  if (to && from && count) __builtin_memmove(to, from, count * sizeof(float));
}

static void forward(const Size& size, const std::vector<Forward>& nets, Pool& pool) {
  const int64_t count = size.rows * size.hidden;
  for (const Forward& net : nets) copy(net.final.c, net.begin.c, count);
  if (size.steps) share<ForwardLoop>(size, nets, size.steps, pool);
  for (const Forward& net : nets) {
    copy(net.final.h, net.begin.h, count);
    Walk walk(size, net.mask, net.reverse, 0, 1);
    walk.go(size.steps);
    for (size_t i = 0; i < walk.rows().size(); ++i) {
      const int64_t row = walk.rows()[i];
      copy(net.final.h + row * size.hidden,
           net.outputs + (walk.before()[i] * size.rows + row) * net.outputs_width, size.hidden);
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
  share<BackwardLoop>(size, nets, size.steps + 1, pool);
}

static void activations(int64_t count, const float* x, float* s, float* t) {
  const FlushDenormals flush;
  for (int64_t i = 0; i < count; i += LANES) {
    const F v = load(x + i, count - i);
    store(s + i, sigmoid(v), count - i);
    store(t + i, tanh(v), count - i);
  }
}
