// SPDX-License-Identifier: BSD-3-Clause
//
// What each verb does. A verb gathers what it has to say, then prints it as text or as JSON; it
// opens the catalog itself, because not every verb needs one, and some make it.
//
// Threads: one verb per process.

#pragma once

#include "cli/invocation.h"

namespace signpost {

// What a verb works with; both outlive it.
struct Context {
    const Options& options;
    Console& console;

    bool json() const { return options.json != JsonMode::none; }
};

// ok, or a code that is no failure of the command itself: no match, problems found.
using VerbResult = Outcome<ExitCode>;

// What was published, or would be; WHAT: the beginning of the line that sums it up.
struct PublishReport;
void print_publication(const Context& context, const PublishReport& report, std::string_view what);

VerbResult run(const Context& context, const ListVerb& verb);
VerbResult list_points(const Context& context, const ListVerb& verb);
VerbResult run(const Context& context, const FindVerb& verb);
VerbResult run(const Context& context, const WhereVerb& verb);
VerbResult run(const Context& context, const InfoVerb& verb);
VerbResult run(const Context& context, const UriVerb& verb);
VerbResult run(const Context& context, const ServersListVerb& verb);
VerbResult run(const Context& context, const ServersAddVerb& verb);
VerbResult run(const Context& context, const ServersRemoveVerb& verb);
VerbResult run(const Context& context, const ServersDrainVerb& verb);
VerbResult run(const Context& context, const SitesListVerb& verb);
VerbResult run(const Context& context, const SitesCostVerb& verb);
VerbResult run(const Context& context, const AddVerb& verb);
VerbResult run(const Context& context, const RemoveVerb& verb);
VerbResult run(const Context& context, const ScanVerb& verb);
VerbResult run(const Context& context, const VerifyVerb& verb);
VerbResult run(const Context& context, const DiffVerb& verb);
VerbResult run(const Context& context, const ExplainVerb& verb);
VerbResult run(const Context& context, const CopyVerb& verb);
VerbResult run(const Context& context, const RepairVerb& verb);
VerbResult run(const Context& context, const JobsVerb& verb);
VerbResult run(const Context& context, const JobsCancelVerb& verb);
VerbResult run(const Context& context, const FilesListVerb& verb);
VerbResult run(const Context& context, const FilesCatVerb& verb);
VerbResult run(const Context& context, const FilesGetVerb& verb);
VerbResult run(const Context& context, const FilesFindVerb& verb);
VerbResult run(const Context& context, const MountVerb& verb);
VerbResult run(const Context& context, const RunVerb& verb);
VerbResult run(const Context& context, const SessionsVerb& verb);
VerbResult run(const Context& context, const SessionsKillVerb& verb);
VerbResult run(const Context& context, const BootVerb& verb);
VerbResult run(const Context& context, const DrillVerb& verb);
VerbResult run(const Context& context, const StatusVerb& verb);
VerbResult run(const Context& context, const CacheVerb& verb);
VerbResult run(const Context& context, const DoctorVerb& verb);
VerbResult run(const Context& context, const InitVerb& verb);
VerbResult run(const Context& context, const CatalogInitVerb& verb);
VerbResult run(const Context& context, const CatalogExportVerb& verb);
VerbResult run(const Context& context, const CatalogImportVerb& verb);
VerbResult run(const Context& context, const CatalogMigrateVerb& verb);
VerbResult run(const Context& context, const CatalogRebuildVerb& verb);

}  // namespace signpost
