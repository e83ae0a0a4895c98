// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/change_hints.h"

namespace signpost {

std::shared_ptr<void> ChangeHints::add(std::function<void()> told) {
    const std::lock_guard lock(book_->mutex);
    const auto place = book_->told.insert(book_->told.end(), std::move(told));
    const auto remove = [book = book_, place](void*) {
        const std::lock_guard removing(book->mutex);
        book->told.erase(place);
    };
    return {book_.get(), remove};
}

void ChangeHints::tell() const {
    const std::lock_guard lock(book_->mutex);
    for (const auto& told : book_->told)
        told();
}

}  // namespace signpost
