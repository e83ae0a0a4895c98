// SPDX-License-Identifier: BSD-3-Clause
//
// MetricsText writes what Prometheus reads: the text format, version 0.0.4. A family is begun, and
// its samples follow; names and kinds are ours, values of labels may be anything.
//
// A value; threads: one.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nbd-server/disk/histogram.h"

namespace signpost {

using MetricLabels = std::vector<std::pair<std::string_view, std::string_view>>;

class MetricsText {
   public:
    static constexpr const char* kType = "text/plain; version=0.0.4; charset=utf-8";

    enum class Kind { counter, gauge, histogram };

    // NAME without `signpost_`.
    void family(std::string_view name, Kind kind, std::string_view help);

    void sample(const MetricLabels& labels, std::uint64_t value);
    void sample_seconds(const MetricLabels& labels, double seconds);
    void sample(const MetricLabels& labels, const DurationCounts& durations);

    // A family of one sample.
    void gauge(std::string_view name, std::string_view help, std::uint64_t value) {
        family(name, Kind::gauge, help);
        sample({}, value);
    }

    const std::string& str() const { return text_; }

   private:
    void line(std::string_view suffix, const MetricLabels& labels, std::string_view value);

    std::string text_;
    std::string name_;
};

}  // namespace signpost
