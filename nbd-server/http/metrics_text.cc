// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/http/metrics_text.h"

#include <fmt/format.h>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxValue = 400;

// What the format has no way to say is shown as in a log line.
std::string label_text(std::string_view value) {
    std::string text;
    for (const char c : escaped(value, kMaxValue)) {
        if (c == '\\' || c == '"') {
            text += '\\';
        }
        text += c;
    }
    return text;
}

}  // namespace

void MetricsText::family(std::string_view name, Kind kind, std::string_view help) {
    const std::string_view kind_text = kind == Kind::counter ? "counter"
                                       : kind == Kind::gauge ? "gauge"
                                                             : "histogram";
    name_ = fmt::format("signpost_{}", name);
    text_ += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n", name_, help, kind_text);
}

void MetricsText::line(std::string_view suffix, const MetricLabels& labels,
                       std::string_view value) {
    text_ += name_;
    text_ += suffix;
    char before = '{';
    for (const auto& [label, of_label] : labels) {
        text_ += fmt::format("{}{}=\"{}\"", before, label, label_text(of_label));
        before = ',';
    }
    text_ += labels.empty() ? " " : "} ";
    text_ += value;
    text_ += '\n';
}

void MetricsText::sample(const MetricLabels& labels, std::uint64_t value) {
    line("", labels, std::to_string(value));
}

void MetricsText::sample_seconds(const MetricLabels& labels, double seconds) {
    line("", labels, fmt::format("{}", seconds));
}

void MetricsText::sample(const MetricLabels& labels, const DurationCounts& durations) {
    constexpr double kMicroseconds = 1e6;
    std::uint64_t count = 0;
    MetricLabels all = labels;
    all.emplace_back("le", "");
    for (std::size_t i = 0; i < durations.classes.size(); ++i) {
        count += durations.classes[i];
        const bool last = i == DurationCounts::kBounds.size();
        const std::string bound =
            last ? "+Inf"
                 : fmt::format("{}",
                               static_cast<double>(DurationCounts::kBounds[i]) / kMicroseconds);
        all.back().second = bound;
        line("_bucket", all, std::to_string(count));
    }
    line("_sum", labels, fmt::format("{}", static_cast<double>(durations.sum_us) / kMicroseconds));
    line("_count", labels, std::to_string(count));
}

}  // namespace signpost
